import { bidiagonalSvd } from './bidiagonal-dc.ts';
import { bidiagonalize } from './bidiagonalize.ts';
import { gemm } from './gemm.ts';
import {
  castLike,
  type Matrix,
  makeLargestPositive,
  type Real,
  scaledFloat64,
  transposed,
} from './matrix.ts';
import { thinQr } from './qr.ts';
import { reflect } from './reflectors.ts';

/** Thin singular value decomposition: a = u diag(s) vt, with k singular values, largest first. */
export interface Svd<T extends Real = Real> {
  /** m x k, orthonormal columns; the element of largest magnitude of each (the first of equals) is positive. */
  readonly u: Matrix<T>;
  /** k values of 0 or more, descending. */
  readonly s: T;
  /** k x n, orthonormal rows. */
  readonly vt: Matrix<T>;
}

/** Factors in float64, one singular vector a row. */
interface Factors {
  readonly ut: Float64Array;
  readonly s: Float64Array;
  readonly vt: Float64Array;
}

/**
 * Exact thin SVD, computed in float64: QR of a rectangular matrix first (Chan 1982), Householder bidiagonalization,
 * divide and conquer (Gu and Eisenstat 1995).
 * @param a m x n; k = min(m, n)
 * @throws RankineError `linalg/not-finite`
 */
export function svd<T extends Real>(a: Matrix<T>): Svd<T> {
  const { rows: m, cols: n } = a;
  const k = Math.min(m, n);
  const { work, scale } = scaledFloat64(a);
  const { ut, s, vt } = m >= n ? tall(work, m, n) : flip(tall(transposed(work, m, n), n, m));
  for (let i = 0; i < k; i++) {
    s[i] /= scale;
    if (!makeLargestPositive(ut.subarray(i * m, (i + 1) * m))) continue;
    for (let j = i * n; j < (i + 1) * n; j++) vt[j] = -vt[j];
  }
  return {
    u: { rows: m, cols: k, data: castLike(transposed(ut, k, m), a.data) },
    s: castLike(s, a.data),
    vt: { rows: k, cols: n, data: castLike(vt, a.data) },
  };
}

function flip({ ut, s, vt }: Factors): Factors {
  return { ut: vt, s, vt: ut };
}

/** m >= n; may overwrite `a`. */
function tall(a: Float64Array, m: number, n: number): Factors {
  if (m === n) return square(a, n);
  const { q, r } = thinQr(a, m, n);
  const { ut, s, vt } = square(r, n);
  const long = new Float64Array(n * m);
  gemm(
    n,
    m,
    n,
    1,
    { data: ut, offset: 0, stride: n },
    { data: q, offset: 0, stride: n, transposed: true },
    { data: long, offset: 0, stride: m },
  );
  return { ut: long, s, vt };
}

function square(a: Float64Array, n: number): Factors {
  const { d, e, q, p } = bidiagonalize(a, n);
  const b = bidiagonalSvd(d, e);
  const order = Array.from(b.d.keys()).sort((i, j) => b.d[j] - b.d[i] || i - j);
  const sorted = (rows: Float64Array) => {
    const out = new Float64Array(n * n);
    for (const [to, from] of order.entries()) out.set(rows.subarray(from * n, (from + 1) * n), to * n);
    return out;
  };
  const rotateBack = (rows: Float64Array, blocks: typeof q) => {
    const columns = transposed(sorted(rows), n, n);
    for (const block of blocks.toReversed()) reflect(block, false, columns, n);
    return transposed(columns, n, n);
  };
  return { ut: rotateBack(b.ut, q), s: Float64Array.from(order, (i) => b.d[i]), vt: rotateBack(b.vt, p) };
}
