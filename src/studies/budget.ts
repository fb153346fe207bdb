import { forms } from '../adapters/index.ts';
import { RankineError } from '../errors.ts';
import { sizeOf } from '../graph/index.ts';
import type { ModelConfig } from '../models/index.ts';
import {
  FULL,
  modelConfig,
  type Predictor,
  predictor,
  type Recipe,
  runShapes,
  withClassesOfImages,
} from '../training/index.ts';
import { canonical } from './key.ts';
import { type Method, runRecipe, type Settings } from './methods.ts';
import type { PlanRow } from './results.ts';
import type { Study } from './study.ts';

/** Ranks that are tried: every small one, then steps of about a tenth. */
const SIZES = (() => {
  const sizes = [1];
  while (sizes[sizes.length - 1] < 4096) {
    const last = sizes[sizes.length - 1];
    sizes.push(Math.max(last + 1, Math.round(last * 1.08)));
  }
  return [...new Set([...sizes, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024])].sort(
    (a, b) => a - b,
  );
})();

/** A method of the plan with the settings that make it spend the budget. */
export interface Planned {
  readonly method: Method;
  readonly settings: Settings;
  readonly row: PlanRow;
}

/**
 * What every method of a study will take, and what of it fits the budget. Nothing is trained and no weights are read:
 * counts come from shapes, memory from the estimator.
 *
 * @throws RankineError `studies/nothing-fits`; those of the model and the data
 */
export async function planStudy(study: Study, methods: readonly Method[]): Promise<Planned[]> {
  const place = { seed: study.seeds[0], output: study.output };
  let predict: Predictor | undefined;
  const count = trainableCounter();
  const planned: Planned[] = [];
  for (const method of methods) {
    try {
      const settings = stepsSettings(study, runRecipe(study, method, {}, place));
      const asGiven = runRecipe(study, method, settings, place);
      predict ??= await predictor(asGiven, { worker: false });
      planned.push(await withinBudget(study, method, settings, { predict, count }));
    } catch (error) {
      if (!(error instanceof RankineError) || isOfStudy(error)) throw error;
      planned.push(refused(method, error.message));
    }
  }
  if (planned.some((p) => p.row.fits)) return planned;
  throw new RankineError(
    'studies/nothing-fits',
    `None of the ${methods.length} methods fits the budget: ${planned.map((p) => `${p.row.label}: ${p.row.reason}`).join(' ')}`,
    'Raise the budget, or name other methods.',
  );
}

/** Errors that no method can help: of the model, the data and the study itself. */
function isOfStudy({ code }: RankineError): boolean {
  return (
    /^(formats|data|models|hub)\//.test(code) ||
    code === 'recipe/unknown-key' ||
    code === 'recipe/unknown-method'
  );
}

function refused(method: Method, reason: string): Planned {
  return {
    method,
    settings: {},
    row: { method: method.id, label: method.label, fits: false, reason, chosen: {} },
  };
}

/** Updates of a run under a budget of updates or tokens; a budget of time is settled by a measured run. */
function stepsSettings({ budget }: Study, recipe: Recipe): Settings {
  if (budget?.steps !== undefined) return { steps: budget.steps };
  if (budget?.tokens === undefined) return {};
  const length = recipe.data.maxLength;
  if (length === undefined)
    throw new RankineError(
      'studies/no-length',
      'A budget of tokens needs to know how long rows are.',
      'Set recipe.data.maxLength.',
    );
  return { steps: Math.max(1, Math.floor(budget.tokens / (recipe.batch * recipe.accumulate * length))) };
}

async function withinBudget(
  study: Study,
  method: Method,
  settings: Settings,
  { predict, count }: { predict: Predictor; count: Count },
): Promise<Planned> {
  const { budget } = study;
  const place = { seed: study.seeds[0], output: study.output };
  const chosen =
    budget?.trainable === undefined ? {} : await sizeFor(study, method, settings, budget.trainable, count);
  const all = { ...settings, ...chosen };
  const recipe = runRecipe(study, method, all, place);
  const trainable = await count(recipe);
  const { peak } = predict(recipe);
  const row = {
    method: method.id,
    label: method.label,
    chosen: all,
    trainable,
    predictedMemory: peak,
    steps: recipe.steps,
  };
  const over = (fact: string) => ({ method, settings: all, row: { ...row, fits: false, reason: fact } });
  if (budget?.trainable !== undefined && trainable > budget.trainable)
    return over(`It trains ${trainable.toLocaleString('en')} numbers at least.`);
  if (budget?.memory !== undefined && peak > budget.memory)
    return over(`It is predicted to take ${Math.round(peak / 1e6)} MB.`);
  return { method, settings: all, row: { ...row, fits: true } };
}

/** How many numbers a run trains. */
type Count = (recipe: Recipe) => Promise<number>;

/** Counts from shapes; the classes that images name are looked for once a model and data set. */
function trainableCounter(): Count {
  const configs = new Map<string, Promise<ModelConfig>>();
  return async (recipe) => {
    const key = canonical([recipe.model, recipe.data.train]);
    const config = configs.get(key) ?? withClassesOfImages(recipe).then(({ model }) => modelConfig(model));
    configs.set(key, config);
    const { trainables } = runShapes(recipe, await config);
    return trainables.reduce((n, t) => n + sizeOf(t.info.shape), 0);
  };
}

/**
 * The options of a form that bring its count nearest below the budget. A method that sets its own size keeps it, as does
 * one whose every size is refused by the model's layers (then its reason is that of the last).
 */
async function sizeFor(
  study: Study,
  method: Method,
  settings: Settings,
  limit: number,
  trainable: Count,
): Promise<Settings> {
  const place = { seed: study.seeds[0], output: study.output };
  const { adapter } = runRecipe(study, method, settings, place);
  const form = forms.find((f) => f.name === adapter.method);
  if (adapter.method === FULL || !form || setsItsSize(method)) return {};
  let best: { settings: Settings; count: number } | undefined;
  let smallest: { settings: Settings; count: number } | undefined;
  let refusal: unknown;
  for (const n of SIZES) {
    const sized = Object.entries(form.sized?.(n) ?? { rank: n });
    const own = Object.fromEntries(sized.map(([key, value]) => [`adapter.${key}`, value]));
    try {
      const count = await trainable(runRecipe(study, method, { ...settings, ...own }, place));
      if (count <= limit && count > (best?.count ?? 0)) best = { settings: own, count };
      if (count < (smallest?.count ?? Number.POSITIVE_INFINITY)) smallest = { settings: own, count };
    } catch (error) {
      if (!(error instanceof RankineError)) throw error;
      refusal = error;
    }
  }
  const found = best ?? smallest;
  if (!found) throw refusal;
  return found.settings;
}

/** True where the study itself gives the options that make a form larger. */
function setsItsSize({ fields }: Method): boolean {
  const adapter = fields.adapter;
  return typeof adapter === 'object' && adapter !== null && ('rank' in adapter || 'bases' in adapter);
}
