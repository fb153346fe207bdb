import { castLike, type Matrix, type Real, scaleToOne, toFloat64, transposed } from './matrix.ts';

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
export interface Factors {
  readonly ut: Float64Array;
  readonly s: Float64Array;
  readonly vt: Float64Array;
}

/**
 * Exact thin SVD, computed in float64.
 * @param a m x n; k = min(m, n)
 * @throws RankineError `linalg/not-finite`
 */
export function svd<T extends Real>(a: Matrix<T>): Svd<T> {
  const { rows: m, cols: n } = a;
  const k = Math.min(m, n);
  const work = toFloat64(a);
  const scale = scaleToOne(work);
  const { ut, s, vt } = m < n ? flip(jacobi(work, m, n)) : jacobi(transposed(work, m, n), n, m);
  for (let i = 0; i < k; i++) s[i] /= scale;
  return pack({ ut, s, vt }, m, n, k, a.data);
}

function flip({ ut, s, vt }: Factors): Factors {
  return { ut: vt, s, vt: ut };
}

/** Fixes the signs and casts. */
export function pack<T extends Real>(f: Factors, m: number, n: number, k: number, like: T): Svd<T> {
  for (let i = 0; i < k; i++)
    if (leadingSign(f.ut.subarray(i * m, (i + 1) * m)) < 0) {
      for (let j = 0; j < m; j++) f.ut[i * m + j] = -f.ut[i * m + j];
      for (let j = 0; j < n; j++) f.vt[i * n + j] = -f.vt[i * n + j];
    }
  return {
    u: { rows: m, cols: k, data: castLike(transposed(f.ut, k, m), like) },
    s: castLike(f.s, like),
    vt: { rows: k, cols: n, data: castLike(f.vt, like) },
  };
}

/** The sign of the element of largest magnitude, the first of equals. */
function leadingSign(v: Float64Array): number {
  let best = 0;
  for (let i = 1; i < v.length; i++) if (Math.abs(v[i]) > Math.abs(v[best])) best = i;
  return v[best] < 0 ? -1 : 1;
}

/** One-sided Jacobi on rows (Hestenes 1958): `rows` vectors of length `length`, rows <= length. */
function jacobi(rowsData: Float64Array, rows: number, length: number): Factors {
  const w = rowsData;
  const v = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++) v[i * rows + i] = 1;
  for (let sweep = 0, rotated = true; rotated && sweep < 60; sweep++) {
    rotated = false;
    for (let p = 0; p < rows; p++)
      for (let q = p + 1; q < rows; q++) rotated = orthogonalize(w, v, rows, length, p, q) || rotated;
  }
  return collect(w, v, rows, length);
}

function orthogonalize(
  w: Float64Array,
  v: Float64Array,
  rows: number,
  length: number,
  p: number,
  q: number,
): boolean {
  let a = 0;
  let b = 0;
  let c = 0;
  for (let i = 0; i < length; i++) {
    const x = w[p * length + i];
    const y = w[q * length + i];
    a += x * x;
    b += y * y;
    c += x * y;
  }
  if (Math.abs(c) <= 1e-15 * Math.sqrt(a * b) || Math.abs(c) < 1e-300) return false;
  const zeta = (b - a) / (2 * c);
  const t = Math.sign(zeta || 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
  const cos = 1 / Math.sqrt(1 + t * t);
  rotate(w, p * length, q * length, length, cos, cos * t);
  rotate(v, p * rows, q * rows, rows, cos, cos * t);
  return true;
}

function rotate(w: Float64Array, p: number, q: number, length: number, cos: number, sin: number): void {
  for (let i = 0; i < length; i++) {
    const x = w[p + i];
    const y = w[q + i];
    w[p + i] = cos * x - sin * y;
    w[q + i] = sin * x + cos * y;
  }
}

function collect(w: Float64Array, v: Float64Array, rows: number, length: number): Factors {
  const norms = Float64Array.from({ length: rows }, (_, i) =>
    Math.hypot(...w.subarray(i * length, (i + 1) * length)),
  );
  const order = Array.from(norms.keys()).sort((i, j) => norms[j] - norms[i] || i - j);
  const ut = new Float64Array(rows * length);
  const vt = new Float64Array(rows * rows);
  const s = Float64Array.from(order, (i) => norms[i]);
  for (const [to, from] of order.entries()) {
    for (let i = 0; i < length; i++) ut[to * length + i] = w[from * length + i] / (norms[from] || 1);
    vt.set(v.subarray(from * rows, (from + 1) * rows), to * rows);
  }
  return { ut, s, vt };
}
