import type { Real } from './matrix.ts';
import { TILE_ROWS } from './wasm-kernels.ts';

/** A matrix inside an array: element (i, j) at `offset + i * stride + j`, or of its transpose. */
export interface View {
  readonly data: Real;
  readonly offset: number;
  readonly stride: number;
  readonly transposed?: boolean;
}

/** Rows `l0` … of the columns `j0` … of a matrix. */
export interface Block {
  readonly l0: number;
  readonly depth: number;
  readonly j0: number;
  readonly cols: number;
}

/** Elements that a packed block takes: panels of `width` columns and an even number of rows. */
export function blockLength(depth: number, cols: number, width: number): number {
  return Math.ceil(cols / width) * width * (depth + (depth & 1));
}

/** Panels of `width` columns, row after row; missing columns and an odd row are filled up with zeros. */
export function packB(
  packed: Real,
  to: number,
  b: View,
  { l0, depth, j0, cols }: Block,
  width: number,
): void {
  const [down, right] = b.transposed ? [1, b.stride] : [b.stride, 1];
  const panel = (depth + (depth & 1)) * width;
  const start = b.offset + l0 * down + j0 * right;
  const whole = right === 1 ? cols - (cols % width) : 0;
  packRows(packed, to, b.data, start, depth, down, whole, width, panel);
  for (let j = whole; j < cols; j += width)
    packColumns(
      packed,
      to + (j / width) * panel,
      width,
      b.data,
      start + j * right,
      Math.min(width, cols - j),
      depth,
      [down, right],
    );
  if (depth & 1)
    for (let at = to + depth * width; at < to + Math.ceil(cols / width) * panel; at += panel)
      packed.fill(0, at, at + width);
}

/** Rows packed at a time: one row would touch every panel for half a cache line, a column of rows every row. */
const ROWS = 8;

/** Whole panels of neighbouring columns, a few rows at a time: rows are read and panels written in long pieces. */
function packRows(
  packed: Real,
  to: number,
  data: Real,
  start: number,
  depth: number,
  down: number,
  cols: number,
  width: number,
  panel: number,
): void {
  for (let l0 = 0; l0 < depth; l0 += ROWS) {
    const rows = Math.min(ROWS, depth - l0);
    for (let j = 0, base = to + l0 * width; j < cols; j += width, base += panel)
      for (let l = 0, at = base, from = start + l0 * down + j; l < rows; l++, from += down - width)
        for (const end = at + width; at < end; at += 4, from += 4) {
          packed[at] = data[from];
          packed[at + 1] = data[from + 1];
          packed[at + 2] = data[from + 2];
          packed[at + 3] = data[from + 3];
        }
  }
}

/** One panel, column after column: what is read with long steps, or lies in a row, is read once and in order. */
function packColumns(
  packed: Real,
  to: number,
  width: number,
  data: Real,
  start: number,
  filled: number,
  depth: number,
  [down, right]: number[],
): void {
  for (let x = 0; x < width; x++) {
    let at = to + x;
    let from = start + x * right;
    if (x < filled) for (let l = 0; l < depth; l++, at += width, from += down) packed[at] = data[from];
    else for (let l = 0; l < depth; l++, at += width) packed[at] = 0;
  }
}

/** Rows `i0` … of a block of A, at most four, column after column; missing rows and an odd column are zeros. */
export function packA(
  packed: Real,
  to: number,
  a: View,
  i0: number,
  rows: number,
  l0: number,
  depth: number,
): void {
  const [down, right] = a.transposed ? [1, a.stride] : [a.stride, 1];
  packColumns(packed, to, TILE_ROWS, a.data, a.offset + i0 * down + l0 * right, rows, depth, [right, down]);
  if (depth & 1) packed.fill(0, to + depth * TILE_ROWS, to + (depth + 1) * TILE_ROWS);
}
