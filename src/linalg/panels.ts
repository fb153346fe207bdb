import { gemm } from './gemm.ts';
import { compact, type Reflectors } from './reflectors.ts';
import { addRows, dots } from './vectors.ts';
import { WORKSPACE, workspace } from './wasm-kernels.ts';

/** Columns that are reduced before the rest of the matrix is brought up to date. */
export const BLOCK = 32;

/** The workspace of a blocked reduction: the matrix and panels, a vector of length n a row; addresses are indices of doubles. */
export interface Panels {
  readonly f: Float64Array;
  readonly n: number;
  /** The matrix. */
  readonly a: number;
  /** Room for a number a row of a panel. */
  readonly weights: number;
  /** Room for a column of the matrix. */
  readonly column: number;
}

/**
 * Puts a matrix into the kernels' workspace.
 * @param source n x n, kept
 * @returns with the addresses of `count` panels, which lie one behind the other and end at `weights`
 */
export function panelWorkspace(source: Float64Array, n: number, count: number): [Panels, number[]] {
  const a = WORKSPACE / 8;
  const panels = Array.from({ length: count }, (_, i) => a + n * n + i * BLOCK * n);
  const weights = a + n * n + count * BLOCK * n;
  const column = weights + BLOCK;
  const f = workspace(column + n - a);
  f.set(source, a);
  return [{ f, n, a, weights, column }, panels];
}

/** A := A - sum of X Y^T over pairs of panels, from row and column `next` on; `count` rows of the panels are filled. */
export function subtractPanels(
  { f, n, a }: Panels,
  next: number,
  count: number,
  pairs: readonly (readonly [x: number, y: number])[],
): void {
  const size = n - next;
  if (size <= 0) return;
  const from = (panel: number) => ({ data: f, offset: panel + next, stride: n });
  const target = from(a + next * n);
  for (const [x, y] of pairs) gemm(size, size, count, -1, { ...from(x), transposed: true }, from(y), target);
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
