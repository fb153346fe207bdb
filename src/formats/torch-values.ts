import { RankineError } from '../errors.ts';
import { sizeOf } from '../graph/array.ts';
import type { FileDType } from './file-dtype.ts';
import {
  type PickleFunction,
  type PickleObject,
  PickleTuple,
  type PickleValue,
  type PickleWorld,
} from './pickle-values.ts';

/** A block of numbers that tensors are views of. */
export interface TorchStorage extends PickleObject {
  readonly kind: 'storage';
  readonly key: string;
  readonly dtype: FileDType;
  /** Number of elements. */
  readonly length: number;
}

/** A view of a storage; `offset` and `strides` count elements. */
export interface TorchTensor extends PickleObject {
  readonly kind: 'tensor';
  readonly storage: TorchStorage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** A checkpoint's pickled value and where each storage's bytes begin in the file. */
export interface TorchContent {
  readonly root: PickleValue;
  storageOffset(storage: TorchStorage): Promise<number>;
}

interface StorageType extends PickleObject {
  readonly kind: 'storage type';
  readonly dtype: FileDType;
}

const STORAGE_TYPES: Record<string, FileDType> = {
  DoubleStorage: 'F64',
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
};

/**
 * The whole world of a PyTorch checkpoint's pickle: OrderedDict, the two functions that rebuild tensors and parameters,
 * and the storage types. `onStorage` hears of every storage named.
 */
export function torchWorld(file: string, onStorage: (storage: TorchStorage) => void): PickleWorld {
  const functions: Record<string, PickleFunction['call']> = {
    'collections.OrderedDict': (args) => newOrderedDict(file, args),
    'torch._utils._rebuild_tensor_v2': (args) => rebuildTensor(file, args),
    'torch._utils._rebuild_parameter': (args) => rebuildParameter(file, args),
  };
  return {
    resolve(module, name) {
      const path = `${module}.${name}`;
      if (Object.hasOwn(functions, path))
        return { kind: 'function', call: functions[path] } as PickleFunction;
      if (module === 'torch' && Object.hasOwn(STORAGE_TYPES, name))
        return { kind: 'storage type', dtype: STORAGE_TYPES[name] } as StorageType;
      return undefined;
    },
    persistent(id) {
      const storage = storageOf(file, id);
      onStorage(storage);
      return storage;
    },
  };
}

export function isTensor(value: PickleValue): value is TorchTensor {
  return isKind(value, 'tensor');
}

function isKind(value: PickleValue, kind: string): boolean {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === kind;
}

// The id is ('storage', type, key, device, number of elements[, view]).
function storageOf(file: string, id: PickleValue): TorchStorage {
  const [tag, type, key, , length, view] = id instanceof PickleTuple ? id.items : [];
  const proper =
    tag === 'storage' &&
    isKind(type, 'storage type') &&
    typeof key === 'string' &&
    isCount(length) &&
    (view ?? null) === null;
  if (!proper) throw broken(file, 'a storage is named in an unknown way');
  return { kind: 'storage', dtype: (type as unknown as StorageType).dtype, key, length };
}

function newOrderedDict(file: string, args: readonly PickleValue[]): PickleValue {
  const dict = new Map<PickleValue, PickleValue>();
  if (args.length === 0) return dict;
  const [pairs] = args;
  if (args.length !== 1 || !Array.isArray(pairs)) throw broken(file, 'an OrderedDict has unknown arguments');
  for (const pair of pairs) {
    const items = pair instanceof PickleTuple ? pair.items : pair;
    if (!Array.isArray(items) || items.length !== 2)
      throw broken(file, 'an OrderedDict has unknown arguments');
    dict.set(items[0], items[1]);
  }
  return dict;
}

// Arguments: storage, offset, size, stride, requires_grad, backward_hooks[, metadata].
function rebuildTensor(file: string, args: readonly PickleValue[]): TorchTensor {
  const [storage, offset, size, stride] = args;
  const shape = counts(size);
  const strides = counts(stride);
  if (!isKind(storage, 'storage') || !isCount(offset) || !shape || shape.length !== strides?.length)
    throw broken(file, 'a tensor has unknown arguments');
  const tensor: TorchTensor = { kind: 'tensor', storage: storage as TorchStorage, offset, shape, strides };
  if (offset + span(tensor) > tensor.storage.length)
    throw broken(
      file,
      `a tensor of shape [${shape}] reaches beyond its storage of ${tensor.storage.length} elements`,
    );
  // A stride of 0 repeats elements: a few bytes could ask for terabytes.
  if (sizeOf(shape) > Math.max(tensor.storage.length, 2 ** 28))
    throw broken(file, `a tensor of shape [${shape}] repeats the few elements of its storage`);
  return tensor;
}

function rebuildParameter(file: string, args: readonly PickleValue[]): TorchTensor {
  const [tensor] = args;
  if (!isTensor(tensor)) throw broken(file, 'a parameter has unknown arguments');
  return tensor;
}

/** Elements from a tensor's first to just after its last, in its storage. */
export function span(tensor: TorchTensor): number {
  if (sizeOf(tensor.shape) === 0) return 0;
  return tensor.shape.reduce((last, d, i) => last + (d - 1) * tensor.strides[i], 0) + 1;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function counts(value: PickleValue): number[] | undefined {
  const items = value instanceof PickleTuple ? value.items : value;
  return Array.isArray(items) && items.every(isCount) ? (items as number[]) : undefined;
}

function broken(file: string, fact: string): RankineError {
  return new RankineError(
    'formats/broken-pickle',
    `The pickle in ${file} is damaged or of an unknown version: ${fact}.`,
    'Save the checkpoint again as safetensors.',
  );
}
