import { type AdapterOptions, forms } from '../../src/adapters/index.ts';
import {
  type Batch,
  IGNORED,
  type LabelledBatch,
  layOut,
  START,
  type TokenExample,
} from '../../src/data/index.ts';
import { createEngine, type Engine } from '../../src/engine/index.ts';
import type { NDArray } from '../../src/graph/index.ts';
import { random } from '../../src/linalg/index.ts';
import { createModel, type Model, type ModelConfig, type Task } from '../../src/models/index.ts';
import { type OptimizerMethod, optimizers } from '../../src/optimizers/index.ts';
import { adapt } from '../../src/training/adaptation.ts';
import type { AnyBatch, BatchShape } from '../../src/training/batch-feeds.ts';
import { blockwiseExecution } from '../../src/training/blockwise.ts';
import type { Setup } from '../../src/training/execution.ts';
import { byName } from '../../src/training/recipe-errors.ts';
import { freshProgress, type Live, type RunProgress } from '../../src/training/run-state.ts';
import type { Schedule } from '../../src/training/schedules.ts';
import { trainables } from '../../src/training/trainables.ts';
import { createUpdater, leavesGradients, type UpdateReport } from '../../src/training/update.ts';
import { createUpdates } from '../../src/training/updates.ts';
import { wholeExecution } from '../../src/training/whole.ts';

export const VOCABULARY = 40;

/** Models of a few thousand weights. */
export const tinyConfigs = {
  llama: {
    model_type: 'llama',
    vocab_size: VOCABULARY,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: false,
  },
  'llama-tied': {
    model_type: 'llama',
    vocab_size: VOCABULARY,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  },
  gpt2: {
    model_type: 'gpt2',
    vocab_size: VOCABULARY,
    n_embd: 16,
    n_layer: 2,
    n_head: 2,
    n_positions: 64,
    resid_pdrop: 0,
    embd_pdrop: 0,
    attn_pdrop: 0,
  },
  bert: {
    model_type: 'bert',
    vocab_size: VOCABULARY,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    max_position_embeddings: 64,
    num_labels: 3,
    hidden_dropout_prob: 0.1,
    attention_probs_dropout_prob: 0,
  },
} satisfies Record<string, ModelConfig>;

export type TinyName = keyof typeof tinyConfigs;

/** A tiny model whose biases and norms are random too, so that every gradient matters. */
export function tinyModel(name: TinyName, task: Task = 'language-modelling'): Model {
  const model = createModel(tinyConfigs[name], task, 7);
  for (const [parameter, array] of model.weights) {
    const data = array.data as Float32Array;
    const noise = new Float32Array(data.length);
    random(3, parameter).fillNormal(noise);
    for (let i = 0; i < data.length; i++) data[i] += 0.1 * noise[i];
  }
  return model;
}

/** Rows of random documents; some tokens are not to be learned. */
export function tinyBatch(
  rows: number,
  length: number,
  options: { packed?: boolean; seed?: number } = {},
): Batch {
  const cursor = random(options.seed ?? 1, 'tiny').cursor();
  const documentOf = (n: number): TokenExample => {
    const inputIds = Int32Array.from({ length: n }, () => cursor.integer(VOCABULARY));
    return { inputIds, labels: inputIds.map((id) => (cursor.integer(4) === 0 ? IGNORED : id)) };
  };
  const row = () => {
    const short = 3 + cursor.integer(length - 6);
    return options.packed ? [documentOf(short), documentOf(length - short)] : [documentOf(short)];
  };
  return { ...layOut(Array.from({ length: rows }, row), length), epoch: 0, next: START };
}

export function tinyLabelled(rows: number, length: number): LabelledBatch {
  const { shape, inputIds, segmentIds, positionIds, tokens, epoch, next } = tinyBatch(rows, length);
  const labels = Int32Array.from({ length: rows }, (_, i) => (i === rows - 1 ? IGNORED : i % 3));
  const typeIds = inputIds.map((id) => id % 2);
  return { shape, inputIds, segmentIds, positionIds, tokens, epoch, next, typeIds, labels };
}

/** A form by name with options, as recipes give them. */
export interface TinyAdapter {
  readonly method: string;
  readonly options?: Record<string, unknown>;
}

/** Adapts the model; factors that start at zero are moved, so that every gradient matters. */
export async function tinySetup(model: Model, adapter?: TinyAdapter, engine?: Engine): Promise<Setup> {
  const form = adapter && byName(forms, adapter.method, 'adapter', []);
  const options = form?.options.parse({ rank: 2, ...adapter?.options }) as AdapterOptions;
  const adaptation = form && (await adapt(model, form, options, { seed: 5, firstRate: 1e-2 }));
  for (const layer of adaptation?.layers ?? [])
    for (const [name, array] of Object.entries(layer.trainable)) {
      const noise = new Float32Array(array.data.length);
      random(4, `${layer.spec.name}/${name}`).fillNormal(noise);
      for (let i = 0; i < noise.length; i++) (array.data as Float32Array)[i] += 0.1 * noise[i];
    }
  return {
    engine: engine ?? (await createEngine({ threads: 1 })),
    model,
    adaptation,
    trainables: trainables(model, adaptation),
    seed: 9,
  };
}

export interface TinyRun {
  readonly execution?: 'whole' | 'blockwise';
  readonly batches: readonly AnyBatch[];
  readonly shape: BatchShape;
  readonly accumulate?: number;
  readonly clip?: number;
  readonly rate?: number | Schedule;
  readonly optimizer?: string | OptimizerMethod;
  readonly optimizerOptions?: Record<string, unknown>;
}

/** The trainer's own updates over given batches, in a circle. */
export function tinyUpdater(
  setup: Setup,
  run: TinyRun,
): { update: () => Promise<UpdateReport>; live: Live; progress: RunProgress } {
  const { optimizer = 'adamw' } = run;
  const method = typeof optimizer === 'string' ? byName(optimizers, optimizer, 'optimizer', []) : optimizer;
  const options = method.options.parse(run.optimizerOptions ?? {});
  const updates = createUpdates(setup.engine, method, options, setup.trainables, setup.seed);
  const live: Live = {
    trainables: setup.trainables,
    updates,
    adaptation: setup.adaptation,
    model: setup.model,
  };
  const progress = freshProgress();
  const rate = run.rate ?? 1e-2;
  const recipe = { accumulate: run.accumulate ?? 1, clip: run.clip ?? 0, seed: setup.seed };
  const shareGradients = leavesGradients(recipe, setup.adaptation?.steps);
  const update = createUpdater({
    recipe,
    total: 100,
    rates: typeof rate === 'function' ? rate : () => rate,
    setup,
    execution:
      run.execution === 'blockwise' ? blockwiseExecution(setup, { shareGradients }) : wholeExecution(setup),
    updates,
    live,
    progress,
    feed: { train: () => around(run.batches), shapeOf: () => run.shape },
  });
  return { update, live, progress };
}

async function* around(batches: readonly AnyBatch[]): AsyncGenerator<AnyBatch> {
  for (;;) yield* batches;
}

/** The largest difference of two lists of arrays. */
export function furthest(a: readonly NDArray[], b: readonly NDArray[]): number {
  let most = 0;
  for (const [i, { data }] of a.entries())
    for (let k = 0; k < data.length; k++)
      most = Math.max(most, Math.abs(Number(data[k]) - Number(b[i].data[k])));
  return most;
}
