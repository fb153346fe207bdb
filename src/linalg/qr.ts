import { castLike, type Matrix, type Real, scaledFloat64 } from './matrix.ts';
import { compact, formQ, householder, type Reflectors, reflect } from './reflectors.ts';

const PANEL = 32;

/**
 * Thin QR by blocked Householder reflections (Golub and Van Loan, section 5.2.3), computed in float64.
 * @param a m x n; k = min(m, n)
 * @returns q (m x k, orthonormal columns, also where `a` is rank-deficient) and r (k x n, upper triangular, diagonal of
 *   0 or more)
 * @throws RankineError `linalg/not-finite`
 */
export function qr<T extends Real>(a: Matrix<T>): { q: Matrix<T>; r: Matrix<T> } {
  const { rows: m, cols: n } = a;
  const k = Math.min(m, n);
  const { work, scale } = scaledFloat64(a);
  const { q, r } = thinQr(work, m, n);
  for (let i = 0; i < r.length; i++) r[i] /= scale;
  return {
    q: { rows: m, cols: k, data: castLike(q, a.data) },
    r: { rows: k, cols: n, data: castLike(r, a.data) },
  };
}

/** The same on float64 arrays; overwrites `a`. */
export function thinQr(a: Float64Array, m: number, n: number): { q: Float64Array; r: Float64Array } {
  const k = Math.min(m, n);
  const q = formQ(factor(a, m, n), m, k);
  const { r, flipped } = upperPart(a, k, n);
  for (const i of flipped) for (let row = 0; row < m; row++) q[row * k + i] = -q[row * k + i];
  return { q, r };
}

/** R with a diagonal of 0 or more, and which of its rows changed sign for that. */
function upperPart(a: Float64Array, k: number, n: number): { r: Float64Array; flipped: number[] } {
  const r = a.slice(0, k * n);
  const flipped: number[] = [];
  for (let i = 0; i < k; i++) {
    r.fill(0, i * n, i * n + i);
    if (!(r[i * n + i] < 0)) continue;
    for (let j = i; j < n; j++) r[i * n + j] = -r[i * n + j];
    flipped.push(i);
  }
  return { r, flipped };
}

/** Leaves R in the upper triangle of `a` (what is below it is stale) and returns the reflectors. */
function factor(a: Float64Array, m: number, n: number): Reflectors[] {
  const blocks: Reflectors[] = [];
  const k = Math.min(m, n);
  for (let start = 0; start < k; start += PANEL) {
    const count = Math.min(PANEL, k - start);
    const block = factorPanel(a, m, n, start, count);
    reflect(block, true, a, n, start + count);
    blocks.push(block);
  }
  return blocks;
}

/** Factors columns `start` … `start + count - 1`, held as contiguous rows meanwhile. */
function factorPanel(a: Float64Array, m: number, n: number, start: number, count: number): Reflectors {
  const length = m - start;
  const vt = new Float64Array(count * length);
  for (let i = 0; i < length; i++)
    for (let j = 0; j < count; j++) vt[j * length + i] = a[(start + i) * n + start + j];
  const taus = new Float64Array(count);
  for (let j = 0; j < count; j++) {
    const at = j * length;
    const [tau, beta] = householder(vt, at + j, length - j);
    taus[j] = tau;
    for (let i = 0; i < j; i++) {
      a[(start + i) * n + start + j] = vt[at + i];
      vt[at + i] = 0;
    }
    a[(start + j) * n + start + j] = beta;
    for (let other = j + 1; other < count; other++) applyOne(vt, at, other * length, j, length, tau);
  }
  return compact(start, length, vt, taus);
}

/** The vector at `x` minus tau (v . x) v, from element `from` on. */
function applyOne(vt: Float64Array, v: number, x: number, from: number, length: number, tau: number): void {
  let sum = 0;
  for (let i = from; i < length; i++) sum += vt[v + i] * vt[x + i];
  sum *= tau;
  for (let i = from; i < length; i++) vt[x + i] -= sum * vt[v + i];
}
