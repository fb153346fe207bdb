import { RankineError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';
import { FILE_BYTES } from './file-dtype.ts';
import { unpickle } from './pickle.ts';
import { PickleTruncated } from './pickle-reader.ts';
import type { PickleValue } from './pickle-values.ts';
import { type TorchContent, type TorchStorage, torchWorld } from './torch-values.ts';

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;

/**
 * Reads what `torch.save` wrote before PyTorch 1.6: pickles of a magic number, a version, the writer's type sizes,
 * the value and the list of storage keys; then each storage as its element count (8 bytes) and its raw elements.
 */
export async function readLegacyTorch(source: ByteSource): Promise<TorchContent> {
  const storages = new Map<string, TorchStorage>();
  const { values, end } = await readPickles(source, 5, storages);
  const [magic, version, system, root, keys] = values;
  const littleEndian = system instanceof Map && system.get('little_endian') === true;
  if (magic !== MAGIC || version !== PROTOCOL || !littleEndian)
    throw unknown(source, 'its header is not that of a little-endian torch.save');
  const offsets = await locateStorages(source, end, keys, storages);
  return {
    root,
    async storageOffset(storage) {
      const offset = offsets.get(storage.key);
      if (offset === undefined) throw unknown(source, `the storage ${storage.key} is missing`);
      return offset;
    },
  };
}

const FIRST_WINDOW = 1 << 20;

/** Runs the first `count` pickles, reading the file only as far as they reach. */
async function readPickles(source: ByteSource, count: number, storages: Map<string, TorchStorage>) {
  for (let window = FIRST_WINDOW; ; window *= 4) {
    const bytes = await source.read(0, Math.min(window, source.size));
    try {
      return runPickles(source.name, bytes, count, storages);
    } catch (error) {
      if (!(error instanceof PickleTruncated) || bytes.byteLength === source.size) throw error;
    }
  }
}

function runPickles(file: string, bytes: Uint8Array, count: number, storages: Map<string, TorchStorage>) {
  const world = torchWorld(file, (storage) => storages.set(storage.key, storage));
  const values: PickleValue[] = [];
  let end = 0;
  for (let i = 0; i < count; i++) {
    const result = unpickle(file, bytes, end, world);
    values.push(result.value);
    end = result.end;
  }
  return { values, end };
}

async function locateStorages(
  source: ByteSource,
  start: number,
  keys: PickleValue,
  storages: ReadonlyMap<string, TorchStorage>,
): Promise<Map<string, number>> {
  if (!Array.isArray(keys)) throw unknown(source, 'it lists no storages');
  const offsets = new Map<string, number>();
  let at = start;
  for (const key of keys) {
    const storage = storages.get(String(key));
    const length = Number(new DataView((await source.read(at, 8)).buffer).getBigInt64(0, true));
    if (storage?.length !== length)
      throw unknown(source, `the storage ${String(key)} has another length than named`);
    offsets.set(storage.key, at + 8);
    at += 8 + length * FILE_BYTES[storage.dtype];
  }
  return offsets;
}

function unknown(source: ByteSource, fact: string): RankineError {
  return new RankineError(
    'formats/broken-pickle',
    `${source.name} is no readable legacy PyTorch checkpoint: ${fact}.`,
    'Convert it to safetensors in Python.',
  );
}
