import { GROUP, kernels } from './wasm-kernels.ts';

/** Products of a matrix and a vector inside the kernels' workspace; every address is an index of a double. */

/** out[r] := row r of the matrix at `a` . x, for `rows` rows of `cols` elements that lie `stride` apart. */
export function dots(out: number, a: number, stride: number, rows: number, cols: number, x: number): void {
  const { dots4, dots1 } = kernels();
  const grouped = rows - (rows % GROUP);
  for (let r = 0; r < rows; r += r < grouped ? GROUP : 1) {
    const kernel = r < grouped ? dots4 : dots1;
    kernel(8 * (out + r), 8 * (a + r * stride), 8 * stride, cols >> 1, cols & 1, 8 * x);
  }
}

/** y := y + the rows of the matrix at `a`, weighted with the `rows` doubles at `weights`. */
export function addRows(
  y: number,
  a: number,
  stride: number,
  rows: number,
  cols: number,
  weights: number,
): void {
  const { addRows4, addRows1 } = kernels();
  const grouped = rows - (rows % GROUP);
  for (let r = 0; r < rows; r += r < grouped ? GROUP : 1) {
    const kernel = r < grouped ? addRows4 : addRows1;
    kernel(8 * y, 8 * (a + r * stride), 8 * stride, cols >> 1, cols & 1, 8 * (weights + r));
  }
}
