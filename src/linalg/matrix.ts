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

/** A float64 copy; throws `linalg/not-finite` at a NaN or infinity. */
export function toFloat64(a: Matrix, name = 'The matrix'): Float64Array {
  largestMagnitude(a, name);
  return new Float64Array(a.data);
}

/** The largest |a_ij|, 0 for none; throws `linalg/not-finite` at a NaN or infinity. */
export function largestMagnitude(a: Matrix, name = 'The matrix'): number {
  matrix(a.rows, a.cols, a.data);
  const { data } = a;
  let largest = 0;
  for (let i = 0; i < data.length; i++) {
    const magnitude = Math.abs(data[i]);
    if (magnitude > largest) largest = magnitude;
    // x - x is zero for finite x only.
    if (magnitude - magnitude !== 0) throw notFinite(a, i, name);
  }
  return largest;
}

function notFinite({ rows, cols, data }: Matrix, i: number, name: string): RankineError {
  return new RankineError(
    'linalg/not-finite',
    `${name} (${rows}x${cols}) has ${data[i]} at row ${Math.floor(i / cols)}, column ${i % cols}.`,
    'Find where it became so (a step size too large, an overflow in float16) before decomposing it.',
  );
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

/** A power of two that brings the largest magnitude to [1, 2), so that no square over- or underflows; 1 where none does. */
export function powerToOne(largest: number): number {
  if (largest === 0 || (largest >= 2 ** -100 && largest <= 2 ** 100)) return 1;
  // 2^1023 is the largest power: subnormal matrices come up far enough with it.
  return 2 ** Math.min(1023, -Math.floor(Math.log2(largest)));
}

/** A float64 copy times `scale`, the `powerToOne` of its largest magnitude; throws `linalg/not-finite`. */
export function scaledFloat64(a: Matrix): { work: Float64Array; scale: number } {
  const scale = powerToOne(largestMagnitude(a));
  const work = new Float64Array(a.data);
  if (scale !== 1) for (let i = 0; i < work.length; i++) work[i] *= scale;
  return { work, scale };
}

/** Flips the vector in place where its element of largest magnitude (the first of equals) is negative; tells whether. */
export function makeLargestPositive(v: Float64Array): boolean {
  let best = 0;
  for (let i = 1; i < v.length; i++) if (Math.abs(v[i]) > Math.abs(v[best])) best = i;
  if (!(v[best] < 0)) return false;
  for (let i = 0; i < v.length; i++) v[i] = -v[i];
  return true;
}
