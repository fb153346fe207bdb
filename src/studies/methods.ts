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
  const list = typeof study.methods === 'string' ? methodSet(study.methods) : study.methods;
  const methods = list
    .filter((entry) => typeof entry !== 'string' || !study.exclude.includes(entry))
    .map((entry): Method => {
      if (typeof entry === 'string') return { id: entry, label: entry, fields: fieldsOf(entry) };
      const { label, ...fields } = entry;
      const name = label ?? nameOf(fields);
      return { id: name.replace(/[^\w.+-]+/g, '-'), label: name, fields };
    });
  const seen = new Map<string, number>();
  return methods.map((m) => {
    const count = (seen.get(m.id) ?? 0) + 1;
    seen.set(m.id, count);
    return count === 1 ? m : { ...m, id: `${m.id}-${count}`, label: `${m.label} (${count})` };
  });
}

function methodSet(set: (typeof METHOD_SETS)[number]): string[] {
  const adapters = [...forms.map((f) => f.name), FULL];
  const others = optimizers.map((o) => o.name);
  if (set === 'all adapters') return adapters;
  return set === 'all optimizers' ? others : [...adapters, ...others.filter((name) => name !== 'adamw')];
}

/** A name alone is a weight form, or an optimizer of all weights. */
function fieldsOf(name: string): Record<string, unknown> {
  if (name === FULL || forms.some((f) => f.name === name)) return { adapter: { method: name } };
  const known = [FULL, ...forms.map((f) => f.name)];
  return { optimizer: { method: byName(optimizers, name, 'method', known).name } };
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
  // A setting of an optimizer that nobody named is one of the recipe's own default.
  const unnamed = head === 'optimizer' ? { method: 'adamw' } : {};
  target[head] = { ...(asObject(head, target[head]) ?? unnamed) };
  setPath(target[head] as Record<string, unknown>, rest, value);
}
