import { forms } from '../adapters/index.ts';
import { optimizers } from '../optimizers/index.ts';
import { byName, FULL, parseRecipe, type Recipe } from '../training/index.ts';
import type { METHOD_SETS, Study } from './study.ts';

/** One competitor of a study: fields of a recipe that set it apart. */
export interface Method {
  /** Unique in the study; also names its folder. */
  readonly id: string;
  readonly label: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/**
 * The competitors of a study, in its order.
 *
 * @throws RankineError `recipe/unknown-method` naming the nearest
 */
export function studyMethods(study: Study): Method[] {
  const named = (name: string) => (isForm(name) ? ofForm(name) : ofOptimizer(study, name));
  const list =
    typeof study.methods === 'string'
      ? methodSet(study, study.methods)
      : study.methods.map((entry) => (typeof entry === 'string' ? named(entry) : described(entry)));
  const methods = list.filter(
    ({ name, label }) => name === undefined || !study.exclude.some((left) => left === name || left === label),
  );
  const seen = new Map<string, number>();
  return methods.map(({ label, fields }): Method => {
    const id = label.replace(/[^\w.+-]+/g, '-');
    const count = (seen.get(id) ?? 0) + 1;
    seen.set(id, count);
    return count === 1
      ? { id, label, fields }
      : { id: `${id}-${count}`, label: `${label} (${count})`, fields };
  });
}

interface Competitor extends Omit<Method, 'id'> {
  /** Of a form or an optimizer, where the study names it or a set holds it. */
  readonly name?: string;
}

function methodSet(study: Study, set: (typeof METHOD_SETS)[number]): Competitor[] {
  const adapters = [...forms.map((f) => f.name), FULL].map(ofForm);
  const rules = optimizers.map((o) => ofOptimizer(study, o.name));
  if (set === 'all adapters') return adapters;
  if (set === 'all optimizers') return rules;
  // AdamW is what all adapters have; a name that is of both must tell which.
  const others = rules.filter((o) => o.name !== 'adamw');
  return [...adapters, ...others.map((o) => (isForm(o.label) ? { ...o, label: `${o.label} optimizer` } : o))];
}

function isForm(name: string): boolean {
  return name === FULL || forms.some((f) => f.name === name);
}

function ofForm(name: string): Competitor {
  return { name, label: name, fields: { adapter: { method: name } } };
}

/** An optimizer with what the study adapts; where it names no form, with the one that it is for, else of all weights. */
function ofOptimizer({ recipe }: Study, name: string): Competitor {
  const known = [FULL, ...forms.map((f) => f.name)];
  const { name: method, adapter = { method: FULL } } = byName(optimizers, name, 'method', known);
  const chosen = asObject('adapter', recipe.adapter)?.method !== undefined;
  return { name, label: name, fields: { optimizer: { method }, ...(chosen ? {} : { adapter }) } };
}

function described({ label, ...fields }: { readonly label?: string }): Competitor {
  return { label: label ?? nameOf(fields), fields };
}

function nameOf(fields: Readonly<Record<string, unknown>>): string {
  const parts = [fields.adapter, fields.optimizer].flatMap((chosen) => {
    if (typeof chosen === 'string') return [chosen];
    const { method, ...options } = (chosen ?? {}) as Record<string, unknown>;
    const settings = Object.entries(options).map(([k, v]) => `${k} ${JSON.stringify(v)}`);
    return method === undefined ? settings : [String(method), ...settings];
  });
  return parts.join(' ') || JSON.stringify(fields);
}

/** Settings by path, e.g. `adapter.alpha`, that a trial or a plan puts over a method's fields. */
export type Settings = Readonly<Record<string, unknown>>;

/**
 * The recipe of one run: what the study shares, then the method's fields, then the settings.
 *
 * @throws RankineError those of `parseRecipe`
 */
export function runRecipe(
  study: Study,
  method: Method,
  settings: Settings,
  place: { seed: number; output: string },
): Recipe {
  const fields = layered(study.recipe, method.fields);
  for (const [path, value] of Object.entries(settings)) setPath(fields, path.split('.'), value);
  return parseRecipe({ ...fields, ...place });
}

/** Chosen methods are merged option by option where both name the same method or one names none. */
function layered(shared: Readonly<Record<string, unknown>>, own: Readonly<Record<string, unknown>>) {
  const result: Record<string, unknown> = structuredClone({ ...shared, ...own });
  for (const field of ['adapter', 'optimizer', 'data', 'model'] as const) {
    const [a, b] = [asObject(field, shared[field]), asObject(field, own[field])];
    if (!a || !b) continue;
    const other = a.method !== undefined && b.method !== undefined && a.method !== b.method;
    const takesNone = b.method === FULL;
    result[field] = structuredClone(other || takesNone ? b : { ...a, ...b });
  }
  const adapter = result.adapter as Record<string, unknown> | undefined;
  // Options that all forms have (targets) may stand in the shared part without a method: full training has none.
  if (adapter && typeof adapter === 'object' && adapter.method === undefined) result.adapter = FULL;
  return result;
}

function asObject(field: string, value: unknown): Record<string, unknown> | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'string') return value as Record<string, unknown>;
  return field === 'data' ? { train: value } : { [field === 'model' ? 'path' : 'method']: value };
}

function setPath(target: Record<string, unknown>, [head, ...rest]: string[], value: unknown): void {
  if (rest.length === 0) {
    target[head] = value;
    return;
  }
  // A setting of what nobody named is one of the recipe's own default.
  target[head] = { ...(asObject(head, target[head]) ?? DEFAULTS[head]) };
  setPath(target[head] as Record<string, unknown>, rest, value);
}

const DEFAULTS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  adapter: { method: 'lora' },
  optimizer: { method: 'adamw' },
};
