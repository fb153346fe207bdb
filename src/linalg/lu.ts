import { RankineError } from '../errors.ts';
import { castLike, type Matrix, type Real, toFloat64 } from './matrix.ts';

/**
 * LU decomposition with partial pivoting (Golub and Van Loan, algorithm 3.4.1), computed in float64:
 * row `permutation[i]` of `a` is row i of l u.
 * @param a m x n; k = min(m, n)
 * @returns l (m x k, unit lower trapezoidal, elements of at most 1), u (k x n, upper trapezoidal), permutation (m)
 * @throws RankineError `linalg/not-finite`
 */
export function lu<T extends Real>(a: Matrix<T>): { l: Matrix<T>; u: Matrix<T>; permutation: Int32Array } {
  const { rows: m, cols: n } = a;
  const k = Math.min(m, n);
  const work = toFloat64(a);
  const permutation = eliminate(work, m, n);
  const l = new Float64Array(m * k);
  const u = new Float64Array(k * n);
  for (let i = 0; i < m; i++) {
    const below = Math.min(i, k);
    l.set(work.subarray(i * n, i * n + below), i * k);
    if (i < k) {
      l[i * k + i] = 1;
      u.set(work.subarray(i * n + i, (i + 1) * n), i * n + i);
    }
  }
  return {
    l: { rows: m, cols: k, data: castLike(l, a.data) },
    u: { rows: k, cols: n, data: castLike(u, a.data) },
    permutation,
  };
}

/**
 * The X with A X = B, by LU.
 * @param a n x n
 * @param b n x p
 * @throws RankineError `linalg/shape`, `linalg/not-finite`, or `linalg/singular` where a pivot is exactly zero
 */
export function solve<T extends Real>(a: Matrix<T>, b: Matrix<T>): Matrix<T> {
  const n = a.rows;
  if (a.cols !== n || b.rows !== n)
    throw new RankineError(
      'linalg/shape',
      `A ${n}x${a.cols} system cannot have a ${b.rows}x${b.cols} right side.`,
    );
  const work = toFloat64(a);
  const right = toFloat64(b, 'The right side');
  const permutation = eliminate(work, n, n);
  const x = new Float64Array(n * b.cols);
  for (let i = 0; i < n; i++) {
    if (work[i * n + i] === 0)
      throw new RankineError('linalg/singular', `The ${n}x${n} matrix is singular: pivot ${i} is zero.`);
    x.set(right.subarray(permutation[i] * b.cols, (permutation[i] + 1) * b.cols), i * b.cols);
  }
  substituteLower(work, n, x, b.cols);
  substituteUpper(work, n, x, b.cols);
  return { rows: n, cols: b.cols, data: castLike(x, a.data) };
}

/** L below the diagonal and U on and above it, in place; returns the order of the rows. */
function eliminate(a: Float64Array, m: number, n: number): Int32Array {
  const permutation = Int32Array.from({ length: m }, (_, i) => i);
  for (let j = 0; j < Math.min(m, n); j++) {
    const pivot = largestBelow(a, m, n, j);
    if (pivot !== j) swapRows(a, n, permutation, pivot, j);
    if (a[j * n + j] === 0) continue;
    for (let i = j + 1; i < m; i++) {
      const factor = a[i * n + j] / a[j * n + j];
      a[i * n + j] = factor;
      if (factor !== 0) subtractRow(a, i * n, j * n, factor, j + 1, n);
    }
  }
  return permutation;
}

function largestBelow(a: Float64Array, m: number, n: number, j: number): number {
  let pivot = j;
  for (let i = j + 1; i < m; i++) if (Math.abs(a[i * n + j]) > Math.abs(a[pivot * n + j])) pivot = i;
  return pivot;
}

function swapRows(a: Float64Array, n: number, permutation: Int32Array, i: number, j: number): void {
  const row = a.slice(i * n, (i + 1) * n);
  a.copyWithin(i * n, j * n, (j + 1) * n);
  a.set(row, j * n);
  const kept = permutation[i];
  permutation[i] = permutation[j];
  permutation[j] = kept;
}

/** Row at `to` minus `factor` times row at `from`, columns `start` … `end - 1`. */
function subtractRow(
  a: Float64Array,
  to: number,
  from: number,
  factor: number,
  start: number,
  end: number,
): void {
  for (let j = start; j < end; j++) a[to + j] -= factor * a[from + j];
}

function substituteLower(lower: Float64Array, n: number, x: Float64Array, cols: number): void {
  for (let i = 0; i < n; i++)
    for (let l = 0; l < i; l++) subtractRow(x, i * cols, l * cols, lower[i * n + l], 0, cols);
}

function substituteUpper(upper: Float64Array, n: number, x: Float64Array, cols: number): void {
  for (let i = n - 1; i >= 0; i--) {
    for (let l = i + 1; l < n; l++) subtractRow(x, i * cols, l * cols, upper[i * n + l], 0, cols);
    for (let j = 0; j < cols; j++) x[i * cols + j] /= upper[i * n + i];
  }
}
