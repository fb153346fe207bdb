import { invariant } from '../errors.ts';

/**
 * The SVD of a small upper bidiagonal B (n x n or n x (n + 1)); singular vectors are rows.
 */
export interface BidiagonalSvd {
  /** n singular values of 0 or more, unordered. */
  readonly d: Float64Array;
  /** n x n: row i is the left vector of d[i]. */
  readonly ut: Float64Array;
  /** m x m, m being the number of columns of B: row i is the right vector of d[i]; row n, where it exists, spans the null space. */
  readonly vt: Float64Array;
}

/** sqrt(x^2 + y^2) for numbers whose squares neither over- nor underflow where it matters; matrices are scaled before. */
export function norm2(x: number, y: number): number {
  return Math.sqrt(x * x + y * y);
}

/** Rows p and q of `a`: (p, q) := (c p + s q, c q - s p). */
export function rotateRows(a: Float64Array, n: number, p: number, q: number, c: number, s: number): void {
  for (let k = 0, i = p * n, j = q * n; k < n; k++, i++, j++) {
    const x = a[i];
    const y = a[j];
    a[i] = c * x + s * y;
    a[j] = c * y - s * x;
  }
}

export function identity(n: number): Float64Array {
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) a[i * n + i] = 1;
  return a;
}

/** [c, s, r] with c f + s g = r and c g - s f = 0. */
function rotation(f: number, g: number): [number, number, number] {
  if (g === 0) return [1, 0, f];
  const r = norm2(f, g);
  return [f / r, g / r, r];
}

/**
 * Implicit-shift QR on a bidiagonal matrix (Golub and Kahan 1965; Golub and Van Loan, algorithm 8.6.2).
 * @param diagonal n elements
 * @param above    n elements of which the last counts only with `extraColumn`; above[i] is at row i, column i + 1
 */
export function bidiagonalQr(
  diagonal: Float64Array,
  above: Float64Array,
  extraColumn: boolean,
): BidiagonalSvd {
  const n = diagonal.length;
  const b = {
    n,
    m: n + (extraColumn ? 1 : 0),
    d: diagonal.slice(),
    e: above.slice(),
    ut: identity(n),
    vt: identity(n),
  };
  if (extraColumn) {
    b.vt = identity(n + 1);
    dropExtraColumn(b);
  }
  iterate(b);
  makePositive(b);
  return b;
}

interface Work {
  readonly n: number;
  readonly m: number;
  readonly d: Float64Array;
  readonly e: Float64Array;
  readonly ut: Float64Array;
  vt: Float64Array;
}

/** Rotates the element outside the square into the diagonal, from the last column to the first. */
function dropExtraColumn(b: Work): void {
  const { n, m, d, e, vt } = b;
  let bulge = e[n - 1];
  for (let i = n - 1; i >= 0 && bulge !== 0; i--) {
    const [c, s, r] = rotation(d[i], bulge);
    d[i] = r;
    if (i > 0) {
      bulge = -s * e[i - 1];
      e[i - 1] *= c;
    }
    rotateRows(vt, m, i, n, c, s);
  }
  e[n - 1] = 0;
}

function iterate(b: Work): void {
  const { n, d, e } = b;
  let scale = 0;
  for (let i = 0; i < n; i++) scale = Math.max(scale, Math.abs(d[i]), Math.abs(e[i]));
  const tiny = Number.EPSILON * scale;
  for (let end = n - 1, sweeps = 0; end > 0; ) {
    if (Math.abs(e[end - 1]) <= tiny * 0.5) {
      e[end - 1] = 0;
      end--;
      continue;
    }
    invariant(sweeps++ < 60 * n, 'the bidiagonal QR iteration does not converge');
    let start = end - 1;
    while (start > 0 && Math.abs(e[start - 1]) > tiny * 0.5) start--;
    if (!splitAtZero(b, start, end, tiny * 0.5)) sweep(b, start, end);
  }
}

/** Where a diagonal element vanishes, clears its row or (at the end) its column by rotations; tells whether it did. */
function splitAtZero(b: Work, start: number, end: number, tiny: number): boolean {
  const { n, m, d, e, ut, vt } = b;
  for (let i = start; i < end; i++)
    if (Math.abs(d[i]) <= tiny) {
      let bulge = e[i];
      d[i] = 0;
      e[i] = 0;
      for (let j = i + 1; j <= end; j++) {
        const [c, s, r] = rotation(d[j], bulge);
        d[j] = r;
        bulge = -s * e[j];
        if (j < end) e[j] *= c;
        rotateRows(ut, n, j, i, c, s);
      }
      return true;
    }
  if (Math.abs(d[end]) > tiny) return false;
  let bulge = e[end - 1];
  d[end] = 0;
  e[end - 1] = 0;
  for (let j = end - 1; j >= start; j--) {
    const [c, s, r] = rotation(d[j], bulge);
    d[j] = r;
    if (j > start) {
      bulge = -s * e[j - 1];
      e[j - 1] *= c;
    }
    rotateRows(vt, m, j, end, c, s);
  }
  return true;
}

/** One sweep with Wilkinson's shift of B^T B over rows `start` … `end`. */
function sweep({ n, m, d, e, ut, vt }: Work, start: number, end: number): void {
  const before = end - 1 > start ? e[end - 2] : 0;
  const t11 = d[end - 1] * d[end - 1] + before * before;
  const t12 = d[end - 1] * e[end - 1];
  const t22 = d[end] * d[end] + e[end - 1] * e[end - 1];
  const half = (t11 - t22) / 2;
  const shift = t12 === 0 ? t22 : t22 - (t12 * t12) / (half + (half < 0 ? -1 : 1) * norm2(half, t12));
  let y = d[start] * d[start] - shift;
  let z = d[start] * e[start];
  for (let k = start; k < end; k++) {
    const [c, s, r] = rotation(y, z);
    if (k > start) e[k - 1] = r;
    y = c * d[k] + s * e[k];
    e[k] = c * e[k] - s * d[k];
    z = s * d[k + 1];
    d[k + 1] *= c;
    rotateRows(vt, m, k, k + 1, c, s);
    const [c2, s2, r2] = rotation(y, z);
    d[k] = r2;
    y = c2 * e[k] + s2 * d[k + 1];
    d[k + 1] = c2 * d[k + 1] - s2 * e[k];
    rotateRows(ut, n, k, k + 1, c2, s2);
    if (k < end - 1) {
      z = s2 * e[k + 1];
      e[k + 1] *= c2;
    }
    e[k] = y;
  }
}

function makePositive({ n, m, d, vt }: Work): void {
  for (let i = 0; i < n; i++)
    if (d[i] < 0) {
      d[i] = -d[i];
      for (let j = i * m; j < (i + 1) * m; j++) vt[j] = -vt[j];
    }
}
