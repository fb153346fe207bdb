import { transposed } from './matrix.ts';
import { compact, formQ, householder, type Reflectors } from './reflectors.ts';

const BLOCK = 32;

/**
 * Reduces the symmetric A to tridiagonal T = Q^T A Q by Householder reflections (Golub and Van Loan, algorithm 8.3.1).
 * @param a n x n, overwritten; the lower triangle counts
 * @returns d (n diagonal elements), e (n; e[i] beside d[i] and d[i + 1], the last 0), qt (Q transposed)
 */
export function tridiagonalize(
  a: Float64Array,
  n: number,
): { d: Float64Array; e: Float64Array; qt: Float64Array } {
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) a[i * n + j] = a[j * n + i];
  const d = new Float64Array(n);
  const e = new Float64Array(n);
  const blocks: Reflectors[] = [];
  for (let start = 0; start < n - 1; start += BLOCK) {
    const count = Math.min(BLOCK, n - 1 - start);
    const length = n - 1 - start;
    const vt = new Float64Array(count * length);
    const taus = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const column = start + i;
      d[column] = a[column * n + column];
      const v = vt.subarray(i * length + i, (i + 1) * length);
      v.set(a.subarray(column * n + column + 1, (column + 1) * n));
      [taus[i], e[column]] = householder(v, 0, v.length);
      if (taus[i] !== 0) updateBothSides(a, n, column + 1, v, taus[i]);
    }
    blocks.push(compact(start + 1, length, vt, taus));
  }
  if (n > 0) d[n - 1] = a[n * n - 1];
  return { d, e, qt: transposed(formQ(blocks, n, n), n, n) };
}

/** A := H A H on the trailing square from `from` on: A - v w^T - w v^T with w = tau A v - (tau^2 / 2)(v . A v) v. */
function updateBothSides(a: Float64Array, n: number, from: number, v: Float64Array, tau: number): void {
  const size = v.length;
  const w = new Float64Array(size);
  let inner = 0;
  for (let i = 0; i < size; i++) {
    const row = (from + i) * n + from;
    let sum = 0;
    for (let j = 0; j < size; j++) sum += a[row + j] * v[j];
    w[i] = tau * sum;
    inner += w[i] * v[i];
  }
  for (let i = 0; i < size; i++) w[i] -= 0.5 * tau * inner * v[i];
  for (let i = 0; i < size; i++) {
    const row = (from + i) * n + from;
    const vi = v[i];
    const wi = w[i];
    for (let j = 0; j < size; j++) a[row + j] -= vi * w[j] + wi * v[j];
  }
}
