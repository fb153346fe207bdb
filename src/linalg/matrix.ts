import { RankineError } from '../errors.ts';

export type Real = Float32Array | Float64Array;

/** A dense row-major matrix: element (i, j) is `data[i * cols + j]`. */
export interface Matrix<T extends Real = Real> {
  readonly rows: number;
  readonly cols: number;
  readonly data: T;
}

/**
 * Names a row-major array as a matrix, without a copy.
 * @throws RankineError `linalg/shape` where `data` does not hold rows x cols elements
 */
export function matrix<T extends Real>(rows: number, cols: number, data: T): Matrix<T> {
  if (data.length !== rows * cols)
    throw new RankineError(
      'linalg/shape',
      `A matrix of ${rows}x${cols} holds ${rows * cols} elements, but ${data.length} came.`,
    );
  return { rows, cols, data };
}

/** A float64 copy, the form in which every decomposition computes; throws `linalg/not-finite` at a NaN or infinity. */
export function toFloat64(a: Matrix, name = 'The matrix'): Float64Array {
  matrix(a.rows, a.cols, a.data);
  const out = new Float64Array(a.data);
  for (let i = 0; i < out.length; i++)
    // x - x is zero for finite x only.
    if (out[i] - out[i] !== 0)
      throw new RankineError(
        'linalg/not-finite',
        `${name} (${a.rows}x${a.cols}) has ${out[i]} at row ${Math.floor(i / a.cols)}, column ${i % a.cols}.`,
        'Find where it became so (a step size too large, an overflow in float16) before decomposing it.',
      );
  return out;
}

/** `values` in the element type of `like`. */
export function castLike<T extends Real>(values: Float64Array, like: T): T {
  return (like instanceof Float32Array ? new Float32Array(values) : values) as T;
}

/** The rows x cols array transposed; the result has `cols` rows. */
export function transposed<T extends Real>(data: T, rows: number, cols: number): T {
  const out = (
    data instanceof Float32Array ? new Float32Array(data.length) : new Float64Array(data.length)
  ) as T;
  // Tiles keep the strided side in the cache.
  const tile = 16;
  for (let i0 = 0; i0 < rows; i0 += tile)
    for (let j0 = 0; j0 < cols; j0 += tile) {
      const i1 = Math.min(i0 + tile, rows);
      const j1 = Math.min(j0 + tile, cols);
      for (let j = j0; j < j1; j++) for (let i = i0; i < i1; i++) out[j * rows + i] = data[i * cols + j];
    }
  return out;
}

/** The transposed matrix, copied. */
export function transpose<T extends Real>(a: Matrix<T>): Matrix<T> {
  return { rows: a.cols, cols: a.rows, data: transposed(a.data, a.rows, a.cols) };
}

/**
 * A power of two that brings the largest magnitude to [1, 2), so that no square over- or underflows; 1 for zeros.
 * Multiplies `values` by it in place and returns it.
 */
export function scaleToOne(values: Float64Array): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]);
    if (magnitude > largest) largest = magnitude;
  }
  if (largest === 0 || (largest >= 2 ** -100 && largest <= 2 ** 100)) return 1;
  // 2^1023 is the largest power: subnormal matrices come up far enough with it.
  const scale = 2 ** Math.min(1023, -Math.floor(Math.log2(largest)));
  for (let i = 0; i < values.length; i++) values[i] *= scale;
  return scale;
}

/** Flips the vector in place where its element of largest magnitude (the first of equals) is negative; tells whether. */
export function makeLargestPositive(v: Float64Array): boolean {
  let best = 0;
  for (let i = 1; i < v.length; i++) if (Math.abs(v[i]) > Math.abs(v[best])) best = i;
  if (!(v[best] < 0)) return false;
  for (let i = 0; i < v.length; i++) v[i] = -v[i];
  return true;
}
