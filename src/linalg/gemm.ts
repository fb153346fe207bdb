import { RankineError } from '../errors.ts';
import type { Matrix, Real } from './matrix.ts';

/** A matrix inside an array: element (i, j) at `offset + i * stride + j`, or of its transpose. */
export interface View {
  readonly data: Real;
  readonly offset: number;
  readonly stride: number;
  readonly transposed?: boolean;
}

/** C += alpha A B with A of m x k, B of k x n and C of m x n (not transposed). */
export function gemm(m: number, n: number, k: number, alpha: number, a: View, b: View, c: View): void {
  const [ai, ak] = a.transposed ? [1, a.stride] : [a.stride, 1];
  const [bk, bj] = b.transposed ? [1, b.stride] : [b.stride, 1];
  for (let i = 0; i < m; i++)
    for (let l = 0; l < k; l++) {
      const x = alpha * a.data[a.offset + i * ai + l * ak];
      const row = c.offset + i * c.stride;
      const from = b.offset + l * bk;
      for (let j = 0; j < n; j++) c.data[row + j] += x * b.data[from + j * bj];
    }
}

/**
 * The product op(A) op(B), op being the transpose where asked for.
 * @throws RankineError `linalg/shape` where the inner dimensions differ
 */
export function multiply<T extends Real>(
  a: Matrix<T>,
  b: Matrix<T>,
  { transposeA = false, transposeB = false } = {},
): Matrix<T> {
  const [m, k] = transposeA ? [a.cols, a.rows] : [a.rows, a.cols];
  const [inner, n] = transposeB ? [b.cols, b.rows] : [b.rows, b.cols];
  if (k !== inner)
    throw new RankineError('linalg/shape', `A matrix of ${m}x${k} cannot multiply one of ${inner}x${n}.`);
  const data = (a.data instanceof Float32Array ? new Float32Array(m * n) : new Float64Array(m * n)) as T;
  const left = { data: a.data, offset: 0, stride: a.cols, transposed: transposeA };
  const right = { data: b.data, offset: 0, stride: b.cols, transposed: transposeB };
  gemm(m, n, k, 1, left, right, { data, offset: 0, stride: n });
  return { rows: m, cols: n, data };
}
