import type { AdapterOptions } from '../src/adapters/index.ts';
import { forms } from '../src/adapters/index.ts';
import { type Batch, START } from '../src/data/index.ts';
import type { Engine } from '../src/engine/index.ts';
import { random } from '../src/linalg/index.ts';
import { createModel, type Model, type ModelConfig } from '../src/models/index.ts';
import { optimizers } from '../src/optimizers/index.ts';
import { type AdaptationStart, adapt } from '../src/training/adaptation.ts';
import type { BatchShape } from '../src/training/batch-feeds.ts';
import { blockwiseExecution } from '../src/training/blockwise.ts';
import { FULL, type Recipe } from '../src/training/recipe.ts';
import { byName } from '../src/training/recipe-errors.ts';
import { freshProgress } from '../src/training/run-state.ts';
import { trainables } from '../src/training/trainables.ts';
import { createUpdater, leavesGradients } from '../src/training/update.ts';
import { createUpdates, type Updates } from '../src/training/updates.ts';
import { wholeExecution } from '../src/training/whole.ts';
import type { Side } from './side.ts';

/** A run on a model with random weights and random tokens. */
export interface TrainingTask {
  readonly config: ModelConfig;
  /** Model and data are those of the task; `data.maxLength` is the length of a row. */
  readonly recipe: Recipe;
  /** Updates of the run whose first ones are timed: what schedules go by. */
  readonly total: number;
}

/** The shape of a batch of random tokens: full rows, one document each. */
export function randomShape({ batch, data }: Recipe): BatchShape {
  const length = data.maxLength!;
  return { rows: batch, length, segments: false, positions: false, types: false, labelled: false };
}

async function* randomBatches({ rows, length }: BatchShape, vocabulary: number): AsyncGenerator<Batch> {
  const tokens = rows * length;
  const cursor = random(0, 'bench').cursor();
  const ids = Int32Array.from({ length: tokens }, () => cursor.integer(vocabulary));
  const ones = new Int32Array(tokens).fill(1);
  const shape = [rows, length] as const;
  const counts = { tokens, targetCount: tokens, epoch: 0, next: START };
  for (;;) yield { shape, inputIds: ids, targets: ids, segmentIds: ones, positionIds: ones, ...counts };
}

function adaptationOf(model: Model, recipe: Recipe, statistics: AdaptationStart['statistics']) {
  const { method, options } = recipe.adapter;
  if (method === FULL) return undefined;
  const start = { seed: recipe.seed, firstRate: recipe.rate, statistics };
  return adapt(model, byName(forms, method, 'adapter', [FULL]), options as AdapterOptions, start);
}

/** Whole updates of a run, as the trainer does them: batch, gradients, the form's steps, clipping, optimizer. */
export async function trainingSide(
  engine: Engine,
  { config, recipe, total }: TrainingTask,
  statistics?: AdaptationStart['statistics'],
): Promise<Side & { readonly updates: Updates }> {
  const model = createModel(config, 'language-modelling', recipe.seed);
  const adaptation = await adaptationOf(model, recipe, statistics);
  const list = trainables(model, adaptation);
  const { method, options } = recipe.optimizer;
  const updates = createUpdates(
    engine,
    byName(optimizers, method, 'optimizer', []),
    options,
    list,
    recipe.seed,
  );
  const setup = { engine, model, adaptation, trainables: list, seed: recipe.seed };
  const shareGradients = leavesGradients(recipe, adaptation?.steps);
  const shape = randomShape(recipe);
  const progress = freshProgress();
  const update = createUpdater({
    recipe,
    total,
    rates: () => recipe.rate,
    setup,
    execution:
      recipe.execution === 'blockwise'
        ? blockwiseExecution(setup, { shareGradients })
        : wholeExecution(setup),
    updates,
    live: { trainables: list, updates, adaptation, model },
    progress,
    feed: { train: () => randomBatches(shape, Number(config.vocab_size)), shapeOf: () => shape },
  });
  return {
    updates,
    async update(at = progress.step + 1) {
      progress.step = at - 1;
      const start = performance.now();
      await update();
      return performance.now() - start;
    },
  };
}
