import { RankineError } from '../errors.ts';

/**
 * Indices of the `k` largest values, largest first; equal values in the order of their indices; NaN comes last.
 * A heap of size k: O(n log k).
 * @throws RankineError `linalg/range` where k is not an integer of 0 to values.length
 */
export function topK(values: ArrayLike<number>, k: number): Int32Array {
  if (!(Number.isInteger(k) && k >= 0 && k <= values.length))
    throw new RankineError('linalg/range', `The top ${k} of ${values.length} values were asked for.`);
  const heap = new Int32Array(k);
  /** Whether index a ranks behind index b. */
  const behind = (a: number, b: number) => {
    const x = Number.isNaN(values[a]) ? -Infinity : values[a];
    const y = Number.isNaN(values[b]) ? -Infinity : values[b];
    if (x !== y) return x < y;
    const nan = Number(Number.isNaN(values[a])) - Number(Number.isNaN(values[b]));
    return nan !== 0 ? nan > 0 : a > b;
  };
  for (let i = 0; i < k; i++) {
    heap[i] = i;
    siftUp(heap, i, behind);
  }
  for (let i = k; i < values.length && k > 0; i++)
    if (behind(heap[0], i)) {
      heap[0] = i;
      siftDown(heap, k, behind);
    }
  return heap.sort((a, b) => (behind(a, b) ? 1 : -1));
}

type Order = (a: number, b: number) => boolean;

/** The root is the index that ranks last. */
function siftUp(heap: Int32Array, at: number, behind: Order): void {
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!behind(heap[at], heap[parent])) return;
    [heap[at], heap[parent]] = [heap[parent], heap[at]];
    at = parent;
  }
}

function siftDown(heap: Int32Array, size: number, behind: Order): void {
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= size) return;
    if (child + 1 < size && behind(heap[child + 1], heap[child])) child++;
    if (!behind(heap[child], heap[at])) return;
    [heap[at], heap[child]] = [heap[child], heap[at]];
    at = child;
  }
}
