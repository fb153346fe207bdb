import { RankineError } from '../errors.ts';
import type { Matrix, Real } from './matrix.ts';
import { A_PACK, B_PACK, C_STRIP, DEPTH, kernels, TILE_ROWS } from './wasm-kernels.ts';

/** Columns packed at a time; DEPTH rows of them fill the second-level cache. */
const COLUMNS = 1024;

/** A matrix inside an array: element (i, j) at `offset + i * stride + j`, or of its transpose. */
export interface View {
  readonly data: Real;
  readonly offset: number;
  readonly stride: number;
  readonly transposed?: boolean;
}

/**
 * C += alpha A B with A of m x k, B of k x n and C of m x n (not transposed). Blocks of A and B are packed into the
 * memory of the SIMD kernels (Goto and van de Geijn 2008), so the operands may lie anywhere. Arithmetic in the
 * element type of C, sums in a fixed order.
 */
export function gemm(m: number, n: number, k: number, alpha: number, a: View, b: View, c: View): void {
  const { memory, strip32, strip64 } = kernels();
  const single = c.data instanceof Float32Array;
  const width = single ? 8 : 4;
  const packed = single ? new Float32Array(memory.buffer) : new Float64Array(memory.buffer);
  const bytes = packed.BYTES_PER_ELEMENT;
  const strip = single ? strip32 : strip64;
  for (let j0 = 0; j0 < n; j0 += COLUMNS) {
    const cols = Math.min(COLUMNS, n - j0);
    const panels = Math.ceil(cols / width);
    for (let l0 = 0; l0 < k; l0 += DEPTH) {
      const depth = Math.min(DEPTH, k - l0);
      packB(packed, B_PACK / bytes, b, l0, depth, j0, cols, width);
      for (let i0 = 0; i0 < m; i0 += TILE_ROWS) {
        const rows = Math.min(TILE_ROWS, m - i0);
        packA(packed, A_PACK / bytes, a, i0, rows, l0, depth);
        strip(A_PACK, B_PACK, C_STRIP, (depth + 1) >> 1, panels, panels * width * bytes);
        addStrip(
          packed,
          C_STRIP / bytes,
          panels * width,
          rows,
          cols,
          alpha,
          c,
          c.offset + i0 * c.stride + j0,
        );
      }
    }
  }
}

/** Panels of `width` columns, row after row; missing columns and an odd row are filled up with zeros. */
function packB(
  packed: Real,
  to: number,
  b: View,
  l0: number,
  depth: number,
  j0: number,
  cols: number,
  width: number,
): void {
  const [down, right] = b.transposed ? [1, b.stride] : [b.stride, 1];
  const panel = (depth + (depth & 1)) * width;
  const start = b.offset + l0 * down + j0 * right;
  const whole = right === 1 ? cols - (cols % width) : 0;
  packWhole(packed, to, b.data, start, depth, down, whole, width, panel);
  for (let j = whole; j < cols; j += width) {
    const filled = Math.min(width, cols - j);
    let from = start + j * right;
    let at = to + (j / width) * panel;
    for (let l = 0; l < depth; l++, at += width, from += down) {
      for (let x = 0, f = from; x < filled; x++, f += right) packed[at + x] = b.data[f];
      for (let x = filled; x < width; x++) packed[at + x] = 0;
    }
  }
  if (depth & 1)
    for (let at = to + depth * width; at < to + Math.ceil(cols / width) * panel; at += panel)
      packed.fill(0, at, at + width);
}

/** Rows packed at a time: one row would touch every panel for half a cache line, a column of rows every row. */
const ROWS = 8;

/** Whole panels of neighbouring columns, a few rows at a time: rows are read and panels written in long pieces. */
function packWhole(
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

/** Four rows, column after column. */
function packA(packed: Real, to: number, a: View, i0: number, rows: number, l0: number, depth: number): void {
  const [down, right] = a.transposed ? [1, a.stride] : [a.stride, 1];
  const { data } = a;
  for (let i = 0; i < TILE_ROWS; i++) {
    let from = a.offset + (i0 + i) * down + l0 * right;
    let at = to + i;
    if (i < rows) for (let l = 0; l < depth; l++, at += TILE_ROWS, from += right) packed[at] = data[from];
    else for (let l = 0; l < depth; l++, at += TILE_ROWS) packed[at] = 0;
    if (depth & 1) packed[at] = 0;
  }
}

function addStrip(
  packed: Real,
  from: number,
  packedStride: number,
  rows: number,
  cols: number,
  alpha: number,
  c: View,
  to: number,
): void {
  const { data } = c;
  for (let i = 0; i < rows; i++) {
    const source = from + i * packedStride;
    const target = to + i * c.stride;
    for (let j = 0; j < cols; j++) data[target + j] += alpha * packed[source + j];
  }
}

/**
 * The product op(A) op(B), op being the transpose where asked for.
 * @throws RankineError `linalg/shape` where the inner dimensions differ
 */
export function multiply<T extends Real>(
  a: Matrix<T>,
  b: Matrix<T>,
  { transposeA = false, transposeB = false } = {},
): Matrix<T> {
  const [m, k] = transposeA ? [a.cols, a.rows] : [a.rows, a.cols];
  const [inner, n] = transposeB ? [b.cols, b.rows] : [b.rows, b.cols];
  if (k !== inner)
    throw new RankineError('linalg/shape', `A matrix of ${m}x${k} cannot multiply one of ${inner}x${n}.`);
  const data = (a.data instanceof Float32Array ? new Float32Array(m * n) : new Float64Array(m * n)) as T;
  const left = { data: a.data, offset: 0, stride: a.cols, transposed: transposeA };
  const right = { data: b.data, offset: 0, stride: b.cols, transposed: transposeB };
  gemm(m, n, k, 1, left, right, { data, offset: 0, stride: n });
  return { rows: m, cols: n, data };
}
