import { gemm } from './gemm.ts';

/** Sums of squares below this may have lost terms to underflow. */
const SMALL_SQUARE = 2 ** -900;

/**
 * The product H_0 H_1 … = I - V T V^T of Householder reflectors H_i = I - tau_i v_i v_i^T in compact form
 * (Schreiber and Van Loan 1989; LAPACK's dlarft and dlarfb), so that applying many of them is matrix products.
 */
export interface Reflectors {
  /** First row (of the matrix they act on) that they touch. */
  readonly start: number;
  /** Number of reflectors. */
  readonly count: number;
  /** Rows they touch: `start` … `start + length - 1`. */
  readonly length: number;
  /** V transposed, count x length: a reflector is a contiguous row. */
  readonly vt: Float64Array;
  /** T, count x count, upper triangular. */
  readonly t: Float64Array;
}

/**
 * Turns the vector x at `offset` into the reflector v (v_0 = 1) with H x = beta e_0, in place.
 * @returns [tau, beta]; tau is 0 where x is a multiple of e_0 already
 */
export function householder(x: Float64Array, offset: number, length: number): [number, number] {
  const end = offset + length;
  let tail = 0;
  for (let i = offset + 1; i < end; i++) tail += x[i] * x[i];
  const alpha = x[offset];
  // Dependent columns leave rounding errors of rounding errors, whose squares underflow.
  if (alpha * alpha + tail < SMALL_SQUARE) return scaledHouseholder(x, offset, length);
  x[offset] = 1;
  if (tail === 0) return [0, alpha];
  const norm = Math.sqrt(alpha * alpha + tail);
  const beta = alpha > 0 ? -norm : norm;
  const scale = 1 / (alpha - beta);
  for (let i = offset + 1; i < end; i++) x[i] *= scale;
  return [(beta - alpha) / beta, beta];
}

function scaledHouseholder(x: Float64Array, offset: number, length: number): [number, number] {
  const part = x.subarray(offset, offset + length);
  let largest = 0;
  for (const value of part) largest = Math.max(largest, Math.abs(value));
  // Below the normal numbers nothing but zero is left to represent.
  if (largest < 2 ** -1022) {
    part.fill(0);
    part[0] = 1;
    return [0, 0];
  }
  for (let i = 0; i < length; i++) part[i] /= largest;
  const [tau, beta] = householder(x, offset, length);
  return [tau, beta * largest];
}

/** Builds T from V and the taus, column by column. */
export function compact(
  start: number,
  length: number,
  vt: Float64Array,
  taus: ArrayLike<number>,
): Reflectors {
  const count = taus.length;
  const t = new Float64Array(count * count);
  const inner = new Float64Array(count * count);
  const v = { data: vt, offset: 0, stride: length };
  gemm(count, count, length, 1, v, { ...v, transposed: true }, { data: inner, offset: 0, stride: count });
  for (let i = 0; i < count; i++) {
    t[i * count + i] = taus[i];
    for (let row = 0; row < i; row++) {
      let sum = 0;
      for (let l = row; l < i; l++) sum += t[row * count + l] * inner[l * count + i];
      t[row * count + i] = -taus[i] * sum;
    }
  }
  return { start, count, length, vt, t };
}

/**
 * C := (I - V T V^T) C, or with T transposed, for the columns `fromColumn` … `cols - 1` of the row-major C.
 * @param c array of at least `start + length` rows of `cols` elements
 */
export function reflect(
  r: Reflectors,
  transposeT: boolean,
  c: Float64Array,
  cols: number,
  fromColumn = 0,
): void {
  const { start, count, length } = r;
  const n = cols - fromColumn;
  if (n <= 0) return;
  const w = { data: new Float64Array(count * n), offset: 0, stride: n };
  const tw = { data: new Float64Array(count * n), offset: 0, stride: n };
  const target = { data: c, offset: start * cols + fromColumn, stride: cols };
  const v = { data: r.vt, offset: 0, stride: length };
  gemm(count, n, length, 1, v, target, w);
  gemm(count, n, count, 1, { data: r.t, offset: 0, stride: count, transposed: transposeT }, w, tw);
  gemm(length, n, count, -1, { ...v, transposed: true }, tw, target);
}

/** The first `cols` columns of H_0 H_1 … over all blocks: `rows` x `cols`, row-major. */
export function formQ(blocks: readonly Reflectors[], rows: number, cols: number): Float64Array {
  const q = new Float64Array(rows * cols);
  for (let i = 0; i < Math.min(rows, cols); i++) q[i * cols + i] = 1;
  // Backward, so that each block meets only the columns that are not yet those of the identity.
  for (const block of blocks.toReversed()) reflect(block, false, q, cols, block.start);
  return q;
}
