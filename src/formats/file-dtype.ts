import { allocate, type DType, type NDArray, type Shape, type TypedArray } from '../graph/array.ts';
import { narrowBfloat16, narrowFloat16, widenBfloat16, widenFloat16 } from './half-precision.ts';

/** Element types in files, by their safetensors names. */
export type FileDType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL';

/** Bytes an element takes in a file. */
export const FILE_BYTES: Record<FileDType, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};

const IN_MEMORY: Record<FileDType, DType> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float32',
  BF16: 'float32',
  I64: 'int64',
  I32: 'int32',
  I16: 'int32',
  I8: 'int32',
  U8: 'uint8',
  BOOL: 'bool',
};

const ON_DISK: Record<DType, FileDType> = {
  float64: 'F64',
  float32: 'F32',
  int64: 'I64',
  int32: 'I32',
  uint8: 'U8',
  bool: 'BOOL',
};

export function isFileDType(name: unknown): name is FileDType {
  return typeof name === 'string' && Object.hasOwn(FILE_BYTES, name);
}

export function isFloating(dtype: FileDType): boolean {
  return dtype === 'F64' || dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
}

/** The file type that holds an in-memory type without loss. */
export function fileDTypeOf(dtype: DType): FileDType {
  return ON_DISK[dtype];
}

/**
 * Little-endian bytes of a file to an array in memory: 16-bit floats widen to float32, 8- and 16-bit integers to int32.
 * `bytes` must start at offset 0 of a buffer of its own (`ByteSource.read`); 4- and 8-byte types keep that buffer.
 */
export function decodeTensor(bytes: Uint8Array, dtype: FileDType, shape: Shape): NDArray {
  return { dtype: IN_MEMORY[dtype], shape, data: decodeData(bytes.buffer as ArrayBuffer, dtype) };
}

function decodeData(buffer: ArrayBuffer, dtype: FileDType): TypedArray {
  switch (dtype) {
    case 'F64':
      return new Float64Array(buffer);
    case 'F32':
      return new Float32Array(buffer);
    case 'F16':
      return widenFloat16(new Uint16Array(buffer));
    case 'BF16':
      return widenBfloat16(new Uint16Array(buffer));
    case 'I64':
      return new BigInt64Array(buffer);
    case 'I32':
      return new Int32Array(buffer);
    case 'I16':
      return Int32Array.from(new Int16Array(buffer));
    case 'I8':
      return Int32Array.from(new Int8Array(buffer));
    case 'U8':
    case 'BOOL':
      return new Uint8Array(buffer);
  }
}

/** An array in memory to the little-endian bytes of `dtype`; floating types are narrowed to nearest even. */
export function encodeTensor(array: NDArray, dtype: FileDType): Uint8Array {
  const data = dtype === fileDTypeOf(array.dtype) ? array.data : convert(array, dtype);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function convert(array: NDArray, dtype: FileDType): TypedArray | Uint16Array {
  if (dtype === 'F16') return narrowFloat16(toFloat32(array).data as Float32Array);
  if (dtype === 'BF16') return narrowBfloat16(toFloat32(array).data as Float32Array);
  if (dtype === 'F32') return toFloat32(array).data;
  if (dtype === 'F64') return Float64Array.from(array.data as Float32Array);
  throw new Error(`internal: ${array.dtype} is not written as ${dtype}`);
}

/** The same values as float32; an array that is float32 already comes back itself. */
export function toFloat32(array: NDArray): NDArray {
  if (array.dtype === 'float32') return array;
  const data = allocate('float32', array.data.length);
  if (array.data instanceof BigInt64Array)
    array.data.forEach((value, i) => {
      data[i] = Number(value);
    });
  else (data as Float32Array).set(array.data);
  return { dtype: 'float32', shape: array.shape, data };
}
