import type { Batch, ImageBatch, LabelledBatch } from '../data/index.ts';
import { IGNORED } from '../data/index.ts';
import { input, type NDArray, type Tensor } from '../graph/index.ts';
import type { BatchInputs, ImageSpec } from '../models/architecture.ts';

/** Which inputs a batch has: programs are compiled for one of these. */
export interface BatchShape {
  readonly rows: number;
  /** Tokens in a row: of a text, or what an image becomes. */
  readonly length: number;
  /** The rows are images. */
  readonly image?: ImageSpec;
  /** Several documents in a row, or padding that attention must not see. */
  readonly segments: boolean;
  readonly positions: boolean;
  readonly types: boolean;
  /** Labels [B] instead of targets [B, T]. */
  readonly labelled: boolean;
}

export type AnyBatch = Batch | LabelledBatch | ImageBatch;

export function isLabelled(batch: AnyBatch): batch is LabelledBatch | ImageBatch {
  return 'labels' in batch;
}

/** Tokens that a batch makes the model read, padding left out. */
export function tokenCount(batch: AnyBatch, { length }: BatchShape): number {
  return 'tokens' in batch ? batch.tokens : targetCount(batch) * length;
}

/** Number of targets or labels that count in the loss. */
export function targetCount(batch: AnyBatch): number {
  if (!isLabelled(batch)) return batch.targetCount;
  return batch.labels.reduce((n, label) => n + Number(label !== IGNORED), 0);
}

/** What decides, besides its size, what a run's batches feed. */
export interface BatchKind {
  readonly labelled: boolean;
  /** Causal models never look at padding on the right, so unpacked rows need no segments. */
  readonly causal: boolean;
  readonly packed: boolean;
  /** The model distinguishes the texts of a pair. */
  readonly pairs: boolean;
}

export function batchShape(
  [rows, length]: readonly [number, number],
  { labelled, causal, packed, pairs }: BatchKind,
): BatchShape {
  return {
    rows,
    length,
    segments: packed || labelled || !causal,
    positions: packed,
    types: labelled && pairs,
    labelled,
  };
}

export function imageShape(rows: number, image: ImageSpec): BatchShape {
  return {
    rows,
    length: image.tokens,
    image,
    segments: false,
    positions: false,
    types: false,
    labelled: true,
  };
}

/** Input of programs with penalties: the share of one update's penalty that falls to a batch. */
export const SHARE = 'batch:share';

export function shapeKey(shape: BatchShape, observing = false): string {
  return JSON.stringify({ ...shape, observing });
}

/** Symbolic inputs of a batch and of its targets. */
export function batchInputs(shape: BatchShape): BatchInputs & { targets: Tensor; weights: Tensor } {
  const { rows, length, image } = shape;
  const ids = (name: string) => input(`batch:${name}`, [rows, length], 'int64');
  const count = shape.labelled ? rows : rows * length;
  return {
    ...(image
      ? { pixels: input('batch:pixels', [rows, image.channels, image.height, image.width]) }
      : { ids: ids('ids') }),
    ...(shape.segments ? { segments: ids('segments') } : {}),
    ...(shape.positions ? { positions: ids('positions') } : {}),
    ...(shape.types ? { types: ids('types') } : {}),
    targets: input('batch:targets', [count], 'int64'),
    weights: input('batch:weights', [count]),
  };
}

/**
 * The arrays of a batch. Each target weighs 1/`total`, so that the batches of one update add up to its mean loss
 * however many targets each has.
 *
 * @param share of the update's penalty: 1 / number of its batches
 */
export function batchFeeds(
  batch: AnyBatch,
  shape: BatchShape,
  total: number,
  share = 1,
): Record<string, NDArray> {
  const targets = isLabelled(batch) ? batch.labels : batch.targets;
  const weights = Float32Array.from(targets, (t) => (t === IGNORED ? 0 : 1 / total));
  return {
    ...('pixels' in batch ? pixelFeeds(batch) : textFeeds(batch, shape)),
    'batch:targets': {
      dtype: 'int64',
      shape: [targets.length],
      data: toInt64(targets.map((t) => Math.max(t, 0))),
    },
    'batch:weights': { dtype: 'float32', shape: [targets.length], data: weights },
    [SHARE]: { dtype: 'float32', shape: [], data: new Float32Array([share]) },
  };
}

function pixelFeeds({ shape, pixels }: ImageBatch): Record<string, NDArray> {
  return { 'batch:pixels': { dtype: 'float32', shape, data: pixels } };
}

function textFeeds(batch: Batch | LabelledBatch, shape: BatchShape): Record<string, NDArray> {
  const { rows, length } = shape;
  const grid = (data: Int32Array): NDArray => ({
    dtype: 'int64',
    shape: [rows, length],
    data: toInt64(data),
  });
  return {
    'batch:ids': grid(batch.inputIds),
    ...(shape.segments ? { 'batch:segments': grid(batch.segmentIds) } : {}),
    ...(shape.positions ? { 'batch:positions': grid(batch.positionIds) } : {}),
    ...(shape.types && 'typeIds' in batch ? { 'batch:types': grid(batch.typeIds) } : {}),
  };
}

function toInt64(values: Int32Array): BigInt64Array {
  const out = new BigInt64Array(values.length);
  // Small non-negative numbers: the low words suffice, without a BigInt for each.
  const words = new Int32Array(out.buffer);
  for (let i = 0; i < values.length; i++) words[2 * i] = values[i];
  return out;
}
