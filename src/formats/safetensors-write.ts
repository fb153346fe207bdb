import { RankineError } from '../errors.ts';
import { type NDArray, type Shape, sizeOf } from '../graph/array.ts';
import { encodeTensor, FILE_BYTES, type FileDType, fileDTypeOf, isFloating } from './file-dtype.ts';
import type { TensorInfo } from './tensor-file.ts';

/** A tensor whose values are made only when they are written, so that large sets never stand in memory together. */
export interface LazyTensor {
  readonly name: string;
  readonly shape: Shape;
  /** Type in memory of what `read` gives; float32 when absent. */
  readonly dtype?: NDArray['dtype'];
  read(): NDArray | Promise<NDArray>;
}

export interface SafetensorsOptions {
  /** Strings kept in the header; `format: 'pt'` is what transformers looks for and is always written. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Floating tensors are narrowed to this type (nearest even); integers stay. Default: each tensor's own. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
}

/** Arrays in memory as the lazy tensors that the writers take. */
export function lazyTensors(arrays: Readonly<Record<string, NDArray>>): LazyTensor[] {
  return Object.entries(arrays).map(([name, a]) => ({ name, shape: a.shape, dtype: a.dtype, read: () => a }));
}

/** The type that `tensor` gets in a file. */
export function writtenDType(tensor: LazyTensor, options: SafetensorsOptions = {}): FileDType {
  const own = fileDTypeOf(tensor.dtype ?? 'float32');
  return options.dtype && isFloating(own) ? options.dtype : own;
}

/** Bytes that `tensor` takes in a file. */
export function writtenBytes(tensor: LazyTensor, options: SafetensorsOptions = {}): number {
  return sizeOf(tensor.shape) * FILE_BYTES[writtenDType(tensor, options)];
}

/**
 * The bytes of a safetensors file, piece by piece: header, then one tensor at a time in the order of the reference
 * implementation (wider types first, then by name), so that equal tensors give the bytes that Python writes.
 *
 * @throws RankineError `formats/duplicate-tensor`; `formats/tensor-shape` where `read` gives another shape than announced
 */
export async function* safetensorsChunks(
  tensors: Iterable<LazyTensor>,
  options: SafetensorsOptions = {},
): AsyncGenerator<Uint8Array> {
  const ordered = inFileOrder([...tensors], options);
  yield encodeHeader(
    ordered.map((t) => ({ name: t.name, shape: t.shape, dtype: writtenDType(t, options) })),
    { format: 'pt', ...options.metadata },
  );
  for (const tensor of ordered) {
    const array = await tensor.read();
    checkAnnounced(tensor, array);
    yield encodeTensor(array, writtenDType(tensor, options));
  }
}

/** A whole safetensors file in memory, for small sets and browsers. */
export async function encodeSafetensors(
  arrays: Readonly<Record<string, NDArray>>,
  options: SafetensorsOptions = {},
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of safetensorsChunks(lazyTensors(arrays), options)) parts.push(part);
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.byteLength;
  }
  return out;
}

// The reference implementation's order of types.
const RANK: FileDType[] = ['BOOL', 'U8', 'I8', 'I16', 'F16', 'BF16', 'I32', 'F32', 'F64', 'I64'];

function inFileOrder(tensors: LazyTensor[], options: SafetensorsOptions): LazyTensor[] {
  const rank = (t: LazyTensor) => RANK.indexOf(writtenDType(t, options));
  return tensors.sort((a, b) => rank(b) - rank(a) || compareUtf8(a.name, b.name));
}

// Byte order, not the locale's: the same file everywhere. (UTF-16 order differs only beyond the basic plane.)
function compareUtf8(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function encodeHeader(infos: TensorInfo[], metadata: Record<string, string>): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  const entries: [string, unknown][] = [];
  const names = new Set<string>();
  let offset = 0;
  for (const { name, dtype, shape } of infos) {
    if (names.has(name) || name === '__metadata__') throw duplicate(name);
    names.add(name);
    const end = offset + sizeOf(shape) * FILE_BYTES[dtype];
    entries.push([name, { dtype, shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  return withLength(joinObject([...Object.entries(header), ...entries]));
}

// Not JSON.stringify of one object: it would move names that look like integers to the front.
function joinObject(entries: [string, unknown][]): string {
  return `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
}

/** Length in eight bytes, then the text, padded with spaces so that the data begin at a multiple of eight. */
function withLength(json: string): Uint8Array {
  const text = new TextEncoder().encode(json);
  const padded = Math.ceil(text.byteLength / 8) * 8;
  const out = new Uint8Array(8 + padded).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  out.set(text, 8);
  return out;
}

function checkAnnounced(tensor: LazyTensor, array: NDArray): void {
  const same =
    array.dtype === (tensor.dtype ?? 'float32') &&
    array.shape.length === tensor.shape.length &&
    array.shape.every((d, i) => d === tensor.shape[i]);
  if (!same)
    throw new RankineError(
      'formats/tensor-shape',
      `The tensor ${tensor.name} was announced as ${tensor.dtype ?? 'float32'} [${tensor.shape}] but came as ${array.dtype} [${array.shape}].`,
    );
}

function duplicate(name: string): RankineError {
  return new RankineError(
    'formats/duplicate-tensor',
    `The tensor ${name} is written twice or has a reserved name.`,
  );
}
