import { RankineError } from '../errors.ts';
import { type NDArray, sizeOf, zeros } from '../graph/array.ts';
import type { ByteSource } from './byte-source.ts';
import { decodeTensor, FILE_BYTES } from './file-dtype.ts';
import { missingTensor } from './nearest.ts';
import { unpickle } from './pickle.ts';
import type { PickleValue } from './pickle-values.ts';
import type { TensorFile } from './tensor-file.ts';
import { readLegacyTorch } from './torch-legacy.ts';
import {
  isTensor,
  span,
  type TorchContent,
  type TorchStorage,
  type TorchTensor,
  torchWorld,
} from './torch-values.ts';
import { contentOffset, readZipDirectory, type ZipEntry } from './zip.ts';

/**
 * Opens a file written by `torch.save`, in the zip form (PyTorch 1.6 and later) or the older stream form, without
 * running any code from it. The tensors are those of the state dict at the root, or under `state_dict`,
 * `model_state_dict`, `model` or `module`. Only the pickle is read now; `read` fetches one tensor's bytes.
 *
 * @throws RankineError `formats/unsafe-pickle`, `formats/broken-pickle`, `formats/broken-zip`, `formats/truncated`,
 *   `formats/not-a-state-dict`, `formats/unknown-format`
 */
export async function openTorchPickle(source: ByteSource): Promise<TensorFile> {
  const content = await readContent(source);
  const tensors = stateDict(source.name, content.root);
  const infos = [...tensors].map(([name, t]) => ({ name, dtype: t.storage.dtype, shape: t.shape }));
  return {
    file: source.name,
    tensors: new Map(infos.map((info) => [info.name, info])),
    metadata: {},
    async read(name) {
      const tensor = tensors.get(name);
      if (!tensor) throw missingTensor(source.name, name, tensors.keys());
      return readTensor(source, await content.storageOffset(tensor.storage), tensor);
    },
    close: () => source.close(),
  };
}

async function readContent(source: ByteSource): Promise<TorchContent> {
  const head = await source.read(0, Math.min(4, source.size));
  const isZip = head[0] === 0x50 && head[1] === 0x4b;
  if (isZip) return readZipped(source);
  if (head[0] === 0x80) return readLegacyTorch(source);
  throw new RankineError(
    'formats/unknown-format',
    `${source.name} is neither a zip nor a pickle, so torch.save did not write it (or PyTorch before 0.1.10 did).`,
    'Download it again, or convert it to safetensors in Python.',
  );
}

async function readZipped(source: ByteSource): Promise<TorchContent> {
  const entries = await readZipDirectory(source);
  const pickleEntry = [...entries.values()].find(
    (e) => e.path === 'data.pkl' || e.path.endsWith('/data.pkl'),
  );
  if (!pickleEntry)
    throw new RankineError(
      'formats/unknown-format',
      `${source.name} is a zip archive without data.pkl, so torch.save did not write it.`,
      'Give a checkpoint written by torch.save, or safetensors.',
    );
  const prefix = pickleEntry.path.slice(0, -'data.pkl'.length);
  await checkByteOrder(source, entries.get(`${prefix}byteorder`));
  const bytes = await source.read(await contentOffset(source, pickleEntry), pickleEntry.size);
  const world = torchWorld(source.name, () => {});
  const { value: root } = unpickle(source.name, bytes, 0, world);
  return {
    root,
    storageOffset: (storage) => contentOffset(source, storageEntry(source, entries, prefix, storage)),
  };
}

function storageEntry(
  source: ByteSource,
  entries: ReadonlyMap<string, ZipEntry>,
  prefix: string,
  storage: TorchStorage,
): ZipEntry {
  const entry = entries.get(`${prefix}data/${storage.key}`);
  const needed = storage.length * FILE_BYTES[storage.dtype];
  if (entry && entry.size >= needed) return entry;
  throw new RankineError(
    'formats/truncated',
    `${source.name} holds ${entry?.size ?? 0} bytes for the storage ${storage.key}, which needs ${needed}.`,
    'Download or write the file again.',
  );
}

async function checkByteOrder(source: ByteSource, entry: ZipEntry | undefined): Promise<void> {
  if (!entry) return;
  const order = new TextDecoder().decode(await source.read(await contentOffset(source, entry), entry.size));
  if (order !== 'little')
    throw new RankineError(
      'formats/byte-order',
      `${source.name} was written on a ${order}-endian machine.`,
      'Save it as safetensors in Python, which is little-endian everywhere.',
    );
}

const WRAPPERS = ['state_dict', 'model_state_dict', 'model', 'module'];

/** The named tensors of a checkpoint: those at the root, else those of the first wrapper that holds some. */
function stateDict(file: string, root: PickleValue): Map<string, TorchTensor> {
  const candidates = root instanceof Map ? [root, ...WRAPPERS.map((key) => root.get(key))] : [];
  for (const candidate of candidates) {
    if (!(candidate instanceof Map)) continue;
    const tensors = [...candidate].filter(([name, value]) => typeof name === 'string' && isTensor(value));
    if (tensors.length > 0) return new Map(tensors as [string, TorchTensor][]);
  }
  throw new RankineError(
    'formats/not-a-state-dict',
    `${file} holds no dict of named tensors, neither at its root nor under ${WRAPPERS.join(', ')}.`,
    'Save model.state_dict() rather than something that contains it.',
  );
}

async function readTensor(source: ByteSource, storageStart: number, tensor: TorchTensor): Promise<NDArray> {
  const { dtype } = tensor.storage;
  const width = FILE_BYTES[dtype];
  const length = span(tensor);
  const bytes = await source.read(storageStart + tensor.offset * width, length * width);
  const flat = decodeTensor(bytes, dtype, [length]);
  return isContiguous(tensor) ? { ...flat, shape: tensor.shape } : gather(flat, tensor);
}

function isContiguous({ shape, strides }: TorchTensor): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return sizeOf(shape) === 0;
    expected *= shape[i];
  }
  return true;
}

/** Copies a strided view (a transposed or expanded tensor) into row-major order. */
function gather(flat: NDArray, { shape, strides }: TorchTensor): NDArray {
  const out = zeros(shape, flat.dtype);
  const index = new Array<number>(shape.length).fill(0);
  let from = 0;
  for (let i = 0; i < out.data.length; i++) {
    out.data[i] = flat.data[from];
    let axis = shape.length - 1;
    for (; axis >= 0 && ++index[axis] === shape[axis]; axis--) {
      index[axis] = 0;
      from -= (shape[axis] - 1) * strides[axis];
    }
    if (axis >= 0) from += strides[axis];
  }
  return out;
}
