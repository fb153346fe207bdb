import { bidiagonalSvd } from './bidiagonal-dc.ts';
import { bidiagonalize } from './bidiagonalize.ts';
import { gemm } from './gemm.ts';
import {
  castLike,
  largestMagnitude,
  type Matrix,
  makeLargestPositive,
  powerToOne,
  type Real,
  scaledFloat64,
  transposed,
} from './matrix.ts';
import type { View } from './pack.ts';
import { thinQr } from './qr.ts';
import { type Reflectors, reflect } from './reflectors.ts';
import { scratch } from './scratch.ts';
import { tridiagonalize } from './tridiagonalize.ts';

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

/**
 * The singular vectors on the shorter side (of a square matrix the right ones) of the largest singular values, with the
 * signs that `svd` gives them; nothing else is computed. They are the eigenvectors of the Gram matrix in float64: of a
 * float32 matrix as exact as it is, in a third of the time. Where singular values are below 1e-7 of the largest, or as
 * close to each other, the vectors span what those of `svd` do together, but may be turned among themselves.
 * @param count 0 to min(m, n)
 * @param options `flipped`: of the transposed matrix, which is not copied for it
 * @returns count x min(m, n), a vector a row
 * @throws RankineError `linalg/not-finite`
 */
export function shortVectors<T extends Real>(
  a: Matrix<T>,
  count: number,
  { flipped = false } = {},
): Matrix<T> {
  const [rows, cols] = flipped ? [a.cols, a.rows] : [a.rows, a.cols];
  const onRight = rows >= cols;
  const [m, n] = onRight ? [rows, cols] : [cols, rows];
  // Products in float64 take float32 as it is; only what would over- or underflow is copied.
  const data = powerToOne(largestMagnitude(a)) === 1 ? a.data : scaledFloat64(a).work;
  const asStored = onRight !== flipped;
  const tall = asStored ? { data, offset: 0, stride: n } : { data, offset: 0, stride: m, transposed: true };
  const { d, e, q } = tridiagonalize(gram(tall, m, n), n);
  const b = bidiagonalSvd(...choleskyFactor(d, e), 'right');
  const vectors = rotateBack(rowsOf(b.vt, descending(b.d).slice(0, count), n), q, n);
  if (onRight) signByLeft(vectors, tall, m, n);
  else for (let i = 0; i < count; i++) makeLargestPositive(vectors.subarray(i * n, (i + 1) * n));
  return { rows: count, cols: n, data: castLike(vectors, a.data) };
}

/** Rows of the Gram matrix that are computed at a time. */
const STRIP = 128;

/** A^T A of the m x n matrix: on and above the diagonal in strips, the rest by symmetry. */
function gram(a: View, m: number, n: number): Float64Array {
  const out = scratch('gram', n * n).fill(0);
  for (let i = 0; i < n; i += STRIP) {
    const columns = { ...a, offset: i * (a.transposed ? a.stride : 1) };
    const target = { data: out, offset: i * n + i, stride: n };
    gemm(Math.min(STRIP, n - i), n - i, m, 1, turned(columns), columns, target);
  }
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) out[i * n + j] = out[j * n + i];
  return out;
}

function turned(a: View): View {
  return { ...a, transposed: !a.transposed };
}

/**
 * Upper bidiagonal B with B^T B = T + shift, for T tridiagonal without negative eigenvalues: the shift is of the size of
 * rounding, keeps roots real, and changes no eigenvector.
 * @returns diagonal, and what stands above it
 */
function choleskyFactor(d: Float64Array, e: Float64Array): [Float64Array, Float64Array] {
  const n = d.length;
  const shift = n * Number.EPSILON * d.reduce((most, x, i) => Math.max(most, Math.abs(x), Math.abs(e[i])), 0);
  const diagonal = new Float64Array(n);
  const above = new Float64Array(n);
  let before = 0;
  for (let i = 0; i < n; i++) {
    diagonal[i] = Math.sqrt(Math.max(d[i] + shift - before * before, shift / n));
    before = diagonal[i] === 0 ? 0 : e[i] / diagonal[i];
    above[i] = before;
  }
  return [diagonal, above];
}

/** Flips right vectors (a row each) of the m x n matrix whose left ones, A v up to a factor, have to be flipped. */
function signByLeft(vectors: Float64Array, a: View, m: number, n: number): void {
  const count = vectors.length / n;
  const left = scratch('signs', count * m).fill(0);
  gemm(count, m, n, 1, { data: vectors, offset: 0, stride: n }, turned(a), {
    data: left,
    offset: 0,
    stride: m,
  });
  for (let i = 0; i < count; i++)
    if (makeLargestPositive(left.subarray(i * m, (i + 1) * m)))
      for (let j = i * n; j < (i + 1) * n; j++) vectors[j] = -vectors[j];
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
  const order = descending(b.d);
  const turned = (vectors: Float64Array, blocks: readonly Reflectors[]) =>
    rotateBack(rowsOf(vectors, order, n), blocks, n);
  return { ut: turned(b.ut, q), s: Float64Array.from(order, (i) => b.d[i]), vt: turned(b.vt, p) };
}

/** Indices from the largest value to the smallest. */
function descending(values: Float64Array): number[] {
  return Array.from(values.keys()).sort((i, j) => values[j] - values[i] || i - j);
}

function rowsOf(a: Float64Array, order: readonly number[], n: number): Float64Array {
  const out = new Float64Array(order.length * n);
  for (const [to, from] of order.entries()) out.set(a.subarray(from * n, (from + 1) * n), to * n);
  return out;
}

/** The vectors of the bidiagonal matrix, a row each, as those of the matrix that the reflectors made it from. */
function rotateBack(rows: Float64Array, blocks: readonly Reflectors[], n: number): Float64Array {
  const count = rows.length / n;
  const columns = transposed(rows, count, n);
  for (const block of blocks.toReversed()) reflect(block, false, columns, count);
  return transposed(columns, n, count);
}
