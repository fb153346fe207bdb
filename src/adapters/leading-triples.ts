import type { NDArray } from '../graph/index.ts';
import { type Random, type Svd, svd, truncatedSvd } from '../linalg/index.ts';

/** Exact up to this many elements; beyond it by randomized iteration, which the papers use throughout. */
const EXACT_LIMIT = 1024 * 1024;

/**
 * The `rank` largest singular triples of an m×n array: u m×rank, s rank values, vt rank×n.
 * @param iterations Krylov steps beyond the exact limit; flat spectra want more than the default
 */
export function leadingTriples(
  array: NDArray,
  rank: number,
  random: Random,
  iterations?: number,
): Svd<Float32Array> {
  const [rows, cols] = array.shape;
  const matrix = { rows, cols, data: array.data as Float32Array };
  if (rows * cols > EXACT_LIMIT) return truncatedSvd(matrix, rank, { random, iterations });
  const { u, s, vt } = svd(matrix);
  const left = new Float32Array(rows * rank);
  for (let i = 0; i < rows; i++) left.set(u.data.subarray(i * u.cols, i * u.cols + rank), i * rank);
  return {
    u: { rows, cols: rank, data: left },
    s: s.slice(0, rank),
    vt: { rows: rank, cols, data: vt.data.slice(0, rank * cols) },
  };
}
