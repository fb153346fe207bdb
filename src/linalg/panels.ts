import { compact, type Reflectors } from './reflectors.ts';
import { addRows, dots } from './vectors.ts';

/** The workspace of a blocked reduction, in which panels lie: a vector of length n a row; addresses are indices of doubles. */
export interface Panels {
  readonly f: Float64Array;
  readonly n: number;
  /** Room for a number a row of a panel. */
  readonly weights: number;
}

/** weights[r] := element `at` of row r of a panel, changed in sign; then target -= sum of the rows of `panel` so weighted. */
export function subtractRows(
  { f, n, weights }: Panels,
  target: number,
  from: number,
  rows: number,
  panel: number,
  coefficients: number,
  at: number,
): void {
  for (let r = 0; r < rows; r++) f[weights + r] = -f[coefficients + r * n + at];
  addRows(target, panel + from, n, rows, n - from, weights);
}

/** target -= second^T (first t) for the vector t at `t`: two thin products, from element `from` (`targetFrom`) on. */
export function subtractProduct(
  { f, n, weights }: Panels,
  target: number,
  targetFrom: number,
  first: number,
  second: number,
  rows: number,
  t: number,
  from: number,
): void {
  dots(weights, first + from, n, rows, n - from, t);
  for (let r = 0; r < rows; r++) f[weights + r] = -f[weights + r];
  addRows(target, second + targetFrom, n, rows, n - targetFrom, weights);
}

/** The rows of a panel, from element `from` on, as reflectors with these taus. */
export function collect({ f, n }: Panels, panel: number, from: number, taus: Float64Array): Reflectors {
  const length = n - from;
  const vt = new Float64Array(taus.length * length);
  for (let r = 0; r < taus.length; r++)
    vt.set(f.subarray(panel + r * n + from, panel + (r + 1) * n), r * length);
  return compact(from, length, vt, taus);
}
