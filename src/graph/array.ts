import { RankineError } from '../errors.ts';

/** Element types. `float16` and `bfloat16` exist in files only: arrays in memory are widened to float32. */
export type DType = 'float32' | 'float64' | 'int32' | 'int64' | 'uint8' | 'bool';

export type TypedArray = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;

export type Shape = readonly number[];

/** A dense row-major array in host memory. `bool` is stored as one byte an element, 0 or 1. */
export interface NDArray {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: TypedArray;
}

export const BYTES: Record<DType, number> = {
  float32: 4,
  float64: 8,
  int32: 4,
  int64: 8,
  uint8: 1,
  bool: 1,
};

export function sizeOf(shape: Shape): number {
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}

/** Bytes of an array of this type and shape. */
export function byteSize(shape: Shape, dtype: DType = 'float32'): number {
  return sizeOf(shape) * BYTES[dtype];
}

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} satisfies Record<DType, unknown>;

export function allocate(dtype: DType, length: number): TypedArray {
  return new ARRAYS[dtype](length);
}

/** An array that lies in a buffer. @param offset in bytes */
export function arrayIn(buffer: ArrayBuffer, offset: number, dtype: DType, shape: Shape): NDArray {
  return { dtype, shape, data: new ARRAYS[dtype](buffer, offset, sizeOf(shape)) };
}

export function zeros(shape: Shape, dtype: DType = 'float32'): NDArray {
  return { dtype, shape, data: allocate(dtype, sizeOf(shape)) };
}

/** Builds an array from plain numbers; throws when their count does not fill `shape`. */
export function array(values: ArrayLike<number>, shape: Shape, dtype: DType = 'float32'): NDArray {
  if (values.length !== sizeOf(shape))
    throw new RankineError(
      'graph/array-size',
      `An array of shape [${shape}] holds ${sizeOf(shape)} elements, but ${values.length} came.`,
    );
  const data = allocate(dtype, values.length);
  if (data instanceof BigInt64Array) for (let i = 0; i < values.length; i++) data[i] = BigInt(values[i]);
  else data.set(values);
  return { dtype, shape, data };
}

/** Reads element `i` as a number, whatever the type. */
export function at(a: NDArray, i: number): number {
  return Number(a.data[i]);
}
