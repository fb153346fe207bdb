import { invariant } from '../errors.ts';
import {
  add,
  concat,
  constant,
  equal,
  less,
  matmul,
  reshape,
  slice,
  softmax,
  split,
  sub,
  type Tensor,
  transpose,
  unsqueeze,
  where,
} from '../graph/index.ts';
import type { BatchInputs } from './architecture.ts';
import type { Context } from './context.ts';
import { perBatch } from './per-batch.ts';

/** Added to scores that must not be attended to: far below any score, far above −∞ so that no row becomes NaN. */
export const MASKED = -1e9;

export interface AttentionOptions {
  block: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Multiplies q kᵀ. */
  scale: number;
  causal: boolean;
  /** Positions seen back, the own one included; absent: all. */
  window?: number;
  /** Dropout on the attention weights. */
  dropout?: number;
}

/** [B, T, heads·D] → [B, heads, T, D]. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, length, width] = x.shape;
  return transpose(reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
}

/** Several projections side by side, [B, T, parts·heads·D] → parts of [B, heads, T, D] by one transposition. */
export function splitJoint(x: Tensor, parts: number, heads: number): Tensor[] {
  const [batch, length, width] = x.shape;
  const dim = width / (parts * heads);
  const apart = transpose(reshape(x, [batch, length, parts, heads, dim]), [2, 0, 3, 1, 4]);
  return split(apart, 0, parts).map((part) => reshape(part, [batch, heads, length, dim]));
}

/** [B, heads, T, D] → [B, T, heads·D]. */
export function mergeHeads(x: Tensor): Tensor {
  const [batch, heads, length, dim] = x.shape;
  return reshape(transpose(x, [0, 2, 1, 3]), [batch, length, heads * dim]);
}

/**
 * Scaled dot-product attention with grouped keys. q [B, H, T, D], k and v [B, Hkv, T, D] → [B, T, H·D].
 * With a cache, the past's scores stand beside the new ones, so that the past is never copied.
 */
export function attention(
  c: Context,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  batch: BatchInputs,
  o: AttentionOptions,
): Tensor {
  const [size, , length] = q.shape;
  const group = o.heads / o.kvHeads;
  const rows = [size, o.kvHeads, group * length, o.headDim];
  const full = (t: Tensor) => reshape(t, [size, o.heads, length, t.shape[3]]);
  const grouped = (t: Tensor) => reshape(t, [size, o.kvHeads, group * length, t.shape[3]]);
  const queries = reshape(q, rows);
  const product = (keys: Tensor) => full(matmul(queries, keys, { transB: true, alpha: o.scale }));
  const window = o.window !== undefined && o.window < length ? o.window : undefined;
  const mask = perBatch(batch, `mask ${length} ${o.causal} ${window}`, () =>
    newMask(length, batch, o.causal, window),
  );
  const fresh = mask ? add(product(k), mask) : product(k);
  if (!c.cache) {
    const weights = c.dropout(softmax(fresh), o.dropout ?? 0, `attention.${o.block}`);
    return mergeHeads(full(matmul(grouped(weights), v)));
  }
  const past = c.cache.past(o.block);
  c.cache.present(o.block, k, v);
  const capacity = past.keys.shape[2];
  let pastScores = add(product(past.keys), c.cache.pastMask);
  if (o.window !== undefined) pastScores = add(pastScores, pastWindow(capacity, batch, o.window));
  const weights = softmax(concat([pastScores, fresh], 3));
  const seen = matmul(grouped(slice(weights, 3, 0, capacity)), past.values);
  const own = matmul(grouped(slice(weights, 3, capacity, capacity + length)), v);
  return mergeHeads(full(add(seen, own)));
}

/** Additive mask among the batch's own positions, broadcastable to [B, H, T, T]; undefined where all see all. */
function newMask(
  length: number,
  batch: BatchInputs,
  causal: boolean,
  window: number | undefined,
): Tensor | undefined {
  const fixed = causal && length > 1 ? causalMask(length, window) : undefined;
  if (!batch.segments) return fixed;
  const segments = batch.segments;
  const own = unsqueeze(unsqueeze(segments, 1), 3);
  const other = unsqueeze(unsqueeze(segments, 1), 2);
  // Padding (0) sees padding, so that its rows stay finite; no loss ever reads them.
  const bias = where(equal(own, other), 0, MASKED);
  return fixed ? add(bias, fixed) : bias;
}

function causalMask(length: number, window = length): Tensor {
  const data = new Float32Array(length * length);
  for (let i = 0; i < length; i++)
    for (let j = 0; j < length; j++) if (j > i || i - j >= window) data[i * length + j] = MASKED;
  return constant({ dtype: 'float32', shape: [1, 1, length, length], data });
}

/** Sliding window over the cache, whose slot i holds position i: [B, 1, T, capacity]. */
function pastWindow(capacity: number, batch: BatchInputs, window: number): Tensor {
  const slots = constant({
    dtype: 'int64',
    shape: [1, 1, 1, capacity],
    data: BigInt64Array.from({ length: capacity }, (_, i) => BigInt(i)),
  });
  invariant(batch.positions, 'generation feeds positions');
  const distance = sub(unsqueeze(unsqueeze(batch.positions, 1), 3), slots);
  const width = constant({ dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(window)) });
  return where(less(distance, width), 0, MASKED);
}

/** Attention whose queries, keys and values are three plain layers over x [B, T, d]. */
export function projectedAttention(
  c: Context,
  x: Tensor,
  batch: BatchInputs,
  names: readonly [q: string, k: string, v: string],
  o: AttentionOptions,
): Tensor {
  const [q, k, v] = names.map((name) => splitHeads(c.linear(name, x), o.heads));
  return attention(c, q, k, v, batch, o);
}
