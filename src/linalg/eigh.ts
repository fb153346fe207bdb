import { RankineError } from '../errors.ts';
import {
  castLike,
  type Matrix,
  makeLargestPositive,
  type Real,
  scaledFloat64,
  transposed,
} from './matrix.ts';
import { formQ } from './reflectors.ts';
import { tridiagonalQl } from './tridiagonal-ql.ts';
import { tridiagonalize } from './tridiagonalize.ts';

/**
 * Eigenvalues, ascending, and orthonormal eigenvectors of a symmetric matrix: a = vectors diag(values) vectors^T.
 * Householder tridiagonalization, then implicit QL, in float64 (Golub and Van Loan, section 8.3).
 * Only the lower triangle of `a` is read. The element of largest magnitude of each vector is positive.
 * @param a n x n
 * @returns values (n), vectors (n x n, an eigenvector a column)
 * @throws RankineError `linalg/shape`, `linalg/not-finite`
 */
export function eigh<T extends Real>(a: Matrix<T>): { values: T; vectors: Matrix<T> } {
  const n = a.rows;
  if (a.cols !== n) throw new RankineError('linalg/shape', `A ${n}x${a.cols} matrix has no eigenvalues.`);
  const { work, scale } = scaledFloat64(a);
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) work[i * n + j] = work[j * n + i];
  const { d, e, q } = tridiagonalize(work, n);
  const qt = transposed(formQ(q, n, n), n, n);
  tridiagonalQl(d, e, qt);
  const order = Array.from(d.keys()).sort((i, j) => d[i] - d[j] || i - j);
  const vt = new Float64Array(n * n);
  for (const [to, from] of order.entries()) {
    vt.set(qt.subarray(from * n, (from + 1) * n), to * n);
    makeLargestPositive(vt.subarray(to * n, (to + 1) * n));
  }
  return {
    values: castLike(
      Float64Array.from(order, (i) => d[i] / scale),
      a.data,
    ),
    vectors: { rows: n, cols: n, data: castLike(transposed(vt, n, n), a.data) },
  };
}
