import { invariant } from '../errors.ts';

/**
 * Implicit QL with Wilkinson's shift (EISPACK's tql2; Bowdler, Martin, Reinsch, Wilkinson 1968).
 * @param d  n diagonal elements, overwritten by the eigenvalues, unordered
 * @param e  n elements, e[i] beside d[i] and d[i + 1]; destroyed
 * @param qt n x n; its rows are combined into the eigenvectors
 */
export function tridiagonalQl(d: Float64Array, e: Float64Array, qt: Float64Array): void {
  const n = d.length;
  let scale = 0;
  for (let i = 0; i < n; i++) scale = Math.max(scale, Math.abs(d[i]), Math.abs(e[i]));
  // What the reduction's own rounding exceeds: without this bound, blocks of zero eigenvalues iterate on noise.
  const tiny = 0.5 * Number.EPSILON * scale;
  for (let l = 0; l < n; l++)
    for (let sweep = 0; ; sweep++) {
      const end = unreducedEnd(d, e, l, tiny);
      if (end === l) break;
      invariant(sweep < 60, 'the QL iteration does not converge');
      qlSweep(d, e, qt, l, end);
    }
}

/** The last index of the block from `l` on whose off-diagonal elements count. */
function unreducedEnd(d: Float64Array, e: Float64Array, l: number, tiny: number): number {
  let m = l;
  while (m < d.length - 1 && Math.abs(e[m]) > tiny) m++;
  return m;
}

function qlSweep(d: Float64Array, e: Float64Array, qt: Float64Array, l: number, m: number): void {
  const n = d.length;
  const half = (d[l + 1] - d[l]) / (2 * e[l]);
  let g = d[m] - d[l] + e[l] / (half + (half < 0 ? -1 : 1) * Math.hypot(half, 1));
  let s = 1;
  let c = 1;
  let p = 0;
  for (let i = m - 1; i >= l; i--) {
    const f = s * e[i];
    const b = c * e[i];
    const r = Math.hypot(f, g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1] -= p;
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    const shifted = d[i + 1] - p;
    const t = (d[i] - shifted) * s + 2 * c * b;
    p = s * t;
    d[i + 1] = shifted + p;
    g = c * t - b;
    rotateRows(qt, (i + 1) * n, i * n, n, c, s);
  }
  d[l] -= p;
  e[l] = g;
  e[m] = 0;
}

function rotateRows(q: Float64Array, upper: number, lower: number, n: number, c: number, s: number): void {
  for (let k = 0; k < n; k++) {
    const x = q[upper + k];
    const y = q[lower + k];
    q[upper + k] = s * y + c * x;
    q[lower + k] = c * y - s * x;
  }
}
