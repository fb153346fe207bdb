import { createHash } from 'node:crypto';
import { loadTokenizer, openDataset } from '../data/index.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { RankineError } from '../errors.ts';
import { resolveDataset } from '../formats/index.ts';
import type { Model } from '../models/index.ts';
import {
  type Adaptation,
  createEvaluator,
  openFeed,
  openModel,
  openTrainedRun,
  parseRecipe,
  type Recipe,
  type Trainable,
  withClassesOfImages,
} from '../training/index.ts';
import { exactMatch } from './exact-match.ts';
import type { Scores } from './results.ts';
import { mean, weightedMean } from './statistics.ts';
import type { Metric } from './study.ts';

/** What a trained model is judged by. */
export interface ScoreTask {
  /** Data of the test, as a recipe names data. Absent: only the trained arrays are hashed. */
  readonly test?: Recipe['data']['train'];
  readonly metrics: readonly Metric[];
  readonly general?: Recipe['data']['train'];
}

export interface Scored {
  readonly scores: readonly Scores[];
  /** Mean loss on the general text. */
  readonly general?: number;
  /** SHA-256 over the trained arrays in the order of their names; absent for a base. */
  readonly weightsHash?: string;
}

interface Judged {
  readonly engine: Engine;
  readonly model: Model;
  readonly adaptation?: Adaptation;
}

/** Scores a finished run: its best checkpoint, or its last where it has no validation. */
export async function scoreRun(given: Recipe, task: ScoreTask): Promise<Scored> {
  const recipe = await withClassesOfImages(given);
  const engine = await createEngine({ device: recipe.device, threads: recipe.threads });
  try {
    const run = await openTrainedRun(engine, recipe.output, recipe);
    const scored = await scoreModel({ engine, ...run }, recipe, task);
    return { ...scored, weightsHash: hashArrays(run.trainables) };
  } finally {
    await engine.dispose();
  }
}

/** Scores the base model of a recipe as it is before training. */
export async function scoreBase(recipe: Recipe, task: ScoreTask): Promise<Scored> {
  const engine = await createEngine({ device: recipe.device, threads: recipe.threads });
  try {
    return await scoreModel({ engine, model: await openModel(recipe.model, recipe.seed) }, recipe, task);
  } finally {
    await engine.dispose();
  }
}

/** Scores a model as it stands. */
export async function scoreModel(judged: Judged, recipe: Recipe, task: ScoreTask): Promise<Scored> {
  const scores: Scores[] = [];
  if (task.test !== undefined) {
    const rows = await rowScores(judged, recipe, task.test);
    for (const metric of task.metrics)
      scores.push(metric === 'exact-match' ? await answers(judged, task.test) : pick(metric, rows));
  }
  if (task.general === undefined) return { scores };
  const general = pick(
    'loss',
    await rowScores(judged, { ...recipe, data: { ...recipe.data, lossOn: undefined } }, task.general),
  );
  return { scores, general: general.mean };
}

/** Loss, targets and, of classifiers, correctness of every row of a data set, in its order. */
async function rowScores(
  { engine, model, adaptation }: Judged,
  recipe: Recipe,
  test: Recipe['data']['train'],
) {
  const { train: _train, validation: _validation, holdOut: _holdOut, ...data } = recipe.data;
  // Rows one by one and whole: an example's number must not depend on its neighbours.
  const alone = parseRecipe({
    model: recipe.model,
    data: { ...data, packing: 'none', stream: false, train: withLimit(test), validation: test },
    batch: 1,
  });
  const feed = await openFeed(alone, model);
  const evaluate = createEvaluator({ engine, model, adaptation, trainables: [], seed: 0 }, feed.shapeOf);
  const rows: { loss: number; targets: number; accuracy?: number }[] = [];
  for await (const batch of feed.validation!()) rows.push(await evaluate(only(batch)));
  return rows;
}

/** Training data are needed but not read. */
function withLimit(test: Recipe['data']['train']) {
  return typeof test === 'string' || Array.isArray(test) ? { path: test, limit: 1 } : { ...test, limit: 1 };
}

async function* only<T>(item: T): AsyncGenerator<T> {
  yield item;
}

function pick(metric: Metric, rows: Awaited<ReturnType<typeof rowScores>>): Scores {
  if (metric === 'accuracy') {
    const examples = rows.map((row) => row.accuracy);
    if (!examples.every((x) => x !== undefined))
      throw new RankineError(
        'studies/no-metric',
        'The test data have no labels to be accurate about.',
        'Use metric: loss or exact-match, or a model with classes.',
      );
    return { metric, direction: 'max', mean: mean(examples), examples };
  }
  const examples = rows.map((row) => row.loss);
  const weights = rows.map((row) => row.targets);
  return {
    metric,
    direction: 'min',
    mean: weightedMean(examples, weights),
    examples,
    weights,
  };
}

async function answers(judged: Judged, test: Recipe['data']['train']): Promise<Scores> {
  const tokenizer = await loadTokenizer(judged.model.folder!);
  const dataset = await openDataset(test, (id) => resolveDataset(id));
  const result = await exactMatch({ ...judged, tokenizer }, dataset);
  const examples = result.answers.map((a) => Number(a.right));
  return { metric: 'exact-match', direction: 'max', mean: result.share, examples };
}

function hashArrays(list: readonly Trainable[]): string {
  const hash = createHash('sha256');
  for (const { info, array } of [...list].sort((a, b) => (a.info.name < b.info.name ? -1 : 1))) {
    const { buffer, byteOffset, byteLength } = array.data;
    hash.update(info.name).update(new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength));
  }
  return hash.digest('hex');
}
