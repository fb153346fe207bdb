import { type DType, type NDArray, type Shape, sizeOf, type TypedArray } from './array.ts';

/** Reference arithmetic stores floats as float64 whatever type the trace declares. */
export function reference(dtype: DType, shape: Shape): { dtype: DType; shape: Shape; data: TypedArray } {
  const n = sizeOf(shape);
  const data =
    dtype === 'int64'
      ? new BigInt64Array(n)
      : dtype === 'bool' || dtype === 'uint8'
        ? new Uint8Array(n)
        : dtype === 'int32'
          ? new Int32Array(n)
          : new Float64Array(n);
  return { dtype, shape, data };
}

export function strides(shape: Shape): number[] {
  const result = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    result[axis] = stride;
    stride *= shape[axis];
  }
  return result;
}

/** Calls `visit` with every coordinate of `shape` in row-major order. */
export function coordinates(shape: Shape, visit: (coordinate: number[], flat: number) => void): void {
  const n = sizeOf(shape);
  const c = new Array<number>(shape.length).fill(0);
  for (let flat = 0; flat < n; flat++) {
    visit(c, flat);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++c[axis] < shape[axis]) break;
      c[axis] = 0;
    }
  }
}

export function dot(a: readonly number[], b: readonly number[]): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
}

/** A new array whose element at coordinate c is the input's element at `from(c)`. */
export function rearrange(x: NDArray, shape: Shape, from: (c: number[]) => number): NDArray {
  const out = reference(x.dtype, shape);
  coordinates(shape, (c, flat) => {
    out.data[flat] = x.data[from(c)];
  });
  return out;
}
