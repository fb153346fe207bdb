import { invariant } from '../errors.ts';
import { type NDArray, zeros } from '../graph/index.ts';
import { MASKED } from './attention.ts';

/**
 * Keys and values of every block for a batch of rows, on the host. Slot i of a row holds its position i, so rows of
 * unequal length fill unequal numbers of slots, and `mask` says how many.
 */
export interface DecodeCache {
  readonly rows: number;
  /** Slots of a row. */
  readonly capacity: number;
  /** [rows, kvHeads, capacity, headDim], by block. */
  readonly keys: readonly NDArray[];
  readonly values: readonly NDArray[];
  /** Additive mask over the slots, [rows, 1, 1, capacity]. */
  readonly mask: NDArray;
}

export interface CacheShape {
  rows: number;
  blocks: number;
  kvHeads: number;
  headDim: number;
}

/** Capacities are multiples of this, so that texts of similar lengths share compiled programs. */
const BUCKET = 64;

/** The smallest bucket of at least `slots` slots; the last one is `limit`, the model's longest text. */
export function bucketCapacity(slots: number, limit = Infinity): number {
  invariant(slots <= limit, `${slots} cache slots asked for, ${limit} allowed`);
  return Math.min(Math.ceil(slots / BUCKET) * BUCKET, limit);
}

/** An empty cache. */
export function createCache(shape: CacheShape, capacity: number): DecodeCache {
  const block = () => zeros([shape.rows, shape.kvHeads, capacity, shape.headDim]);
  const mask = zeros([shape.rows, 1, 1, capacity]);
  mask.data.fill(MASKED as never);
  const blocks = Array.from({ length: shape.blocks });
  return { rows: shape.rows, capacity, keys: blocks.map(block), values: blocks.map(block), mask };
}

/** A cache of more slots with the same content. */
export function growCache(cache: DecodeCache, capacity: number): DecodeCache {
  const [rows, kvHeads, , headDim] = cache.keys[0].shape;
  const grown = createCache({ rows, kvHeads, headDim, blocks: cache.keys.length }, capacity);
  cache.keys.forEach((from, i) => {
    copyRuns(from, grown.keys[i], cache.capacity * headDim, capacity * headDim);
  });
  cache.values.forEach((from, i) => {
    copyRuns(from, grown.values[i], cache.capacity * headDim, capacity * headDim);
  });
  copyRuns(cache.mask, grown.mask, cache.capacity, capacity);
  return grown;
}

/** Copies run r of `length` elements to the beginning of the r-th run of `stride` elements. */
function copyRuns(from: NDArray, to: NDArray, length: number, stride: number): void {
  for (let r = 0; r * length < from.data.length; r++)
    (to.data as Float32Array).set(
      (from.data as Float32Array).subarray(r * length, (r + 1) * length),
      r * stride,
    );
}

/**
 * Writes the first `count` new positions of a row at its slots `start` … `start + count − 1` and opens them in the mask.
 * @param keys   new keys by block, [rows, kvHeads, T, headDim]
 * @param values new values, alike
 */
export function storeRow(
  cache: DecodeCache,
  row: number,
  start: number,
  count: number,
  keys: readonly NDArray[],
  values: readonly NDArray[],
): void {
  for (let i = 0; i < keys.length; i++) {
    storeBlock(cache.keys[i], keys[i], row, start, count);
    storeBlock(cache.values[i], values[i], row, start, count);
  }
  const first = row * cache.capacity;
  cache.mask.data.fill(0 as never, first + start, first + start + count);
}

function storeBlock(to: NDArray, from: NDArray, row: number, start: number, count: number): void {
  const [, kvHeads, capacity, headDim] = to.shape;
  const length = from.shape[2];
  const source = from.data as Float32Array;
  for (let h = row * kvHeads; h < (row + 1) * kvHeads; h++) {
    const begin = h * length * headDim;
    (to.data as Float32Array).set(
      source.subarray(begin, begin + count * headDim),
      (h * capacity + start) * headDim,
    );
  }
}

/** Forgets what a row holds. */
export function clearRow(cache: DecodeCache, row: number): void {
  cache.mask.data.fill(MASKED as never, row * cache.capacity, (row + 1) * cache.capacity);
}
