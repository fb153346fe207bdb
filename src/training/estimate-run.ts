import { stat } from 'node:fs/promises';
import { sizeOf } from '../graph/index.ts';
import { modelConfig, tokenizerFolder } from './base-model.ts';
import type { BatchShape } from './batch-feeds.ts';
import { withClassesOfImages } from './classes.ts';
import {
  availableMemory,
  type EstimateOptions,
  type Execute,
  estimateMemory,
  type MemoryEstimate,
  type RunningMemory,
  runningMemory,
} from './estimate.ts';
import { parseRecipe, type Recipe, type RecipeInput } from './recipe.ts';
import { type RunShapes, runShapes, shapeOnlyModel } from './run-shapes.ts';
import { largestBatch } from './sources.ts';
import { isResolved } from './train.ts';
import type { Trainable } from './trainables.ts';
import { spendsTogether } from './update.ts';

/** What a run is predicted to take, and as what it was understood. */
export interface RunEstimate extends MemoryEstimate {
  readonly execution: Execute;
  readonly rows: number;
  /** Tokens in the longest row. */
  readonly length: number;
  readonly parameters: number;
  readonly trainable: number;
}

export interface EstimateRunOptions extends Pick<EstimateOptions, 'worker'> {
  /** Tokens in the longest row, where it is known: the data then need not be read. */
  readonly length?: number;
  /** Bytes that `execution: auto` decides by (default: what this process may take). */
  readonly available?: number;
}

/**
 * Predicts the peak memory of a recipe's run by kind, in bytes, before anything is allocated: of the model `config.json`
 * is read, of the data only what tells how long rows are.
 *
 * @throws RankineError those of `parseRecipe`, `resolveModel` and `openDataset`; `adapters/rank` and others where options
 *   do not fit the model
 */
export async function estimateRun(
  input: RecipeInput | Recipe,
  options: EstimateRunOptions = {},
): Promise<RunEstimate> {
  const recipe = isResolved(input) ? input : parseRecipe(input);
  const predict = await predictor(recipe, options);
  return predict(recipe);
}

/** Predicts runs of one model on one data set that differ in anything else. */
export type Predictor = (recipe: Recipe) => RunEstimate;

/** Reads what the predictions of a recipe and its variants have in common. */
export async function predictor(recipe: Recipe, options: EstimateRunOptions = {}): Promise<Predictor> {
  const { model } = await withClassesOfImages(recipe);
  const config = await modelConfig(model);
  const shape = await longestBatch(recipe, options);
  const { available = availableMemory(), worker } = options;
  const held = await heldData(recipe);
  const traced = new Map<string, RunningMemory>();
  return (variant) => {
    const shapes = runShapes(variant, config);
    const length = Math.min(shape.length, variant.data.maxLength ?? shape.length);
    const own = { ...shape, rows: variant.batch, length };
    const running: Tracing = (how, trainables) => {
      const key = JSON.stringify([variant.adapter, own, how, trainables.map((t) => t.info.name)]);
      const known = traced.get(key) ?? runningMemory({ ...shapes, trainables }, own, how);
      traced.set(key, known);
      return known;
    };
    return predict(variant, shapes, own, { available, worker, data: held }, running);
  };
}

/** A token takes 8 bytes, and about 3 of text. */
const HELD_SHARE = 8 / 3;
/** What waits for the collector when text has been tokenized: so many times the text, but not more. */
const GARBAGE = { share: 10, most: 20e6 };

/**
 * Bytes that text takes once it is read: fitted to runs on 0.3 to 3.8 MB. Data of which only a name is known, or a part
 * is read, count as nothing.
 */
async function heldData({ data }: Recipe): Promise<number> {
  if (data.stream) return 0;
  const sets = [data.train, data.validation].flat();
  const sizes = await Promise.all(sets.map(async (set) => (typeof set === 'string' ? fileSize(set) : 0)));
  const text = sizes.reduce((a, b) => a + b, 0);
  return HELD_SHARE * text + Math.min(GARBAGE.share * text, GARBAGE.most);
}

async function fileSize(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ? found.size : 0;
}

async function longestBatch(recipe: Recipe, { length }: EstimateRunOptions): Promise<BatchShape> {
  const known =
    length === undefined ? recipe : { ...recipe, data: { ...recipe.data, stream: true, maxLength: length } };
  const model = shapeOnlyModel(recipe.model, await modelConfig(recipe.model));
  const reads = !known.data.stream && known.data.packing === 'none';
  return largestBatch(known, reads ? { ...model, folder: await tokenizerFolder(recipe.model) } : model);
}

/** Programs that several variants have in common are traced once. */
type Tracing = (how: Parameters<typeof runningMemory>[2], trainables: readonly Trainable[]) => RunningMemory;

function predict(
  recipe: Recipe,
  shapes: RunShapes,
  shape: BatchShape,
  { available, ...known }: { available: number; worker?: boolean; data: number },
  running: Tracing,
): RunEstimate {
  const { data, execution } = recipe;
  const as = (how: Execute) => {
    const options: EstimateOptions = {
      execution: how,
      together: spendsTogether(recipe, shapes.adaptation?.steps),
      sums: recipe.accumulate > 1,
      evaluates: data.validation !== undefined || data.holdOut !== undefined,
      ...known,
      formState: shapes.formState,
      steps: recipe.steps,
    };
    const programs = (trainables: readonly Trainable[]) =>
      running({ execution: how, evaluates: options.evaluates }, trainables);
    return { execution: how, ...estimateMemory(shapes, shapes.rules, shape, options, programs) };
  };
  return {
    ...(execution === 'auto' ? fitting(as, available) : as(execution)),
    rows: shape.rows,
    length: shape.length,
    parameters: count([...shapes.model.weights.values()]),
    trainable: count(shapes.trainables.map((t) => t.array)),
  };
}

/** As `chooseExecution`: one graph, unless it does not fit and layers take less. */
function fitting<E extends MemoryEstimate>(as: (how: Execute) => E, available: number): E {
  const whole = as('whole');
  if (whole.peak <= available) return whole;
  const blockwise = as('blockwise');
  return blockwise.peak < whole.peak ? blockwise : whole;
}

function count(arrays: readonly { shape: readonly number[] }[]): number {
  return arrays.reduce((n, { shape }) => n + sizeOf(shape), 0);
}
