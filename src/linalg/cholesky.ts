import { RankineError } from '../errors.ts';
import { castLike, type Matrix, type Real, toFloat64 } from './matrix.ts';

/**
 * The lower triangular L with positive diagonal and L L^T = A, computed in float64 (Golub and Van Loan, section 4.2).
 * Only the lower triangle of `a` is read.
 * @param a n x n, symmetric positive definite
 * @throws RankineError `linalg/shape`, `linalg/not-finite` or `linalg/not-positive-definite`
 */
export function cholesky<T extends Real>(a: Matrix<T>): Matrix<T> {
  const n = a.rows;
  if (a.cols !== n) throw new RankineError('linalg/shape', `A ${n}x${a.cols} matrix has no Cholesky factor.`);
  const l = toFloat64(a);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = l[i * n + j];
      for (let p = 0; p < j; p++) sum -= l[i * n + p] * l[j * n + p];
      if (j < i) l[i * n + j] = sum / l[j * n + j];
      else if (sum > 0) l[i * n + i] = Math.sqrt(sum);
      else throw notPositiveDefinite(n, i, sum);
    }
    l.fill(0, i * n + i + 1, (i + 1) * n);
  }
  return { rows: n, cols: n, data: castLike(l, a.data) };
}

function notPositiveDefinite(n: number, i: number, pivot: number): RankineError {
  return new RankineError(
    'linalg/not-positive-definite',
    `The ${n}x${n} matrix is not positive definite: pivot ${i} is ${pivot}.`,
    'Add a small multiple of the identity.',
  );
}
