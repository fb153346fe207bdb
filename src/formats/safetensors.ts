import { RankineError } from '../errors.ts';
import { sizeOf } from '../graph/array.ts';
import type { ByteSource } from './byte-source.ts';
import { decodeTensor, FILE_BYTES, isFileDType } from './file-dtype.ts';
import { duplicateKey } from './json-keys.ts';
import { missingTensor } from './nearest.ts';
import type { TensorFile, TensorInfo } from './tensor-file.ts';

/** The reference implementation's limit: no honest header comes near it. */
export const LONGEST_HEADER = 100_000_000;

/** A tensor and where its bytes lie, counted from the first byte after the header. */
export interface SafetensorsEntry extends TensorInfo {
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly metadata: Record<string, string>;
  /** By position in the file. */
  readonly tensors: Map<string, SafetensorsEntry>;
}

/**
 * Opens a safetensors file. Only the header is read; `read` fetches the byte range of the one tensor asked for.
 * The checks are those of the reference implementation: offsets tile the data exactly, without overlap, hole or rest.
 *
 * @throws RankineError `formats/truncated`, `formats/safetensors-header`, `formats/safetensors-offsets`,
 *   `formats/unsupported-dtype`, `formats/duplicate-tensor`
 * @see https://github.com/huggingface/safetensors#format
 */
export async function openSafetensors(source: ByteSource): Promise<TensorFile> {
  const { text, dataStart } = await readHeaderText(source);
  const header = parseSafetensorsHeader(source.name, text, source.size - dataStart);
  return {
    file: source.name,
    tensors: header.tensors,
    metadata: header.metadata,
    async read(name) {
      const entry = header.tensors.get(name);
      if (!entry) throw missingTensor(source.name, name, header.tensors.keys());
      const bytes = await source.read(dataStart + entry.begin, entry.end - entry.begin);
      return decodeTensor(bytes, entry.dtype, entry.shape);
    },
    close: () => source.close(),
  };
}

async function readHeaderText(source: ByteSource): Promise<{ text: string; dataStart: number }> {
  const prefix = await source.read(0, 8);
  const length = Number(new DataView(prefix.buffer).getBigUint64(0, true));
  if (length > LONGEST_HEADER)
    throw badHeader(
      source.name,
      `its header would be ${length} bytes long, more than the ${LONGEST_HEADER} allowed`,
    );
  const bytes = await source.read(8, length);
  return { text: decodeUtf8(source.name, bytes), dataStart: 8 + length };
}

function decodeUtf8(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw badHeader(file, 'its header is not UTF-8', cause);
  }
}

/** Reads and checks the JSON header of a file whose data part has `dataBytes` bytes. */
export function parseSafetensorsHeader(file: string, text: string, dataBytes: number): SafetensorsHeader {
  const { __metadata__: metadata = {}, ...entries } = parseObject(file, text);
  const twice = duplicateKey(text);
  if (twice !== undefined)
    throw new RankineError(
      'formats/duplicate-tensor',
      `${file} names the tensor ${twice} twice.`,
      'Write the file again with distinct names.',
    );
  const tensors = Object.entries(entries).map(([name, raw]) => parseEntry(file, name, raw));
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkTiling(file, tensors, dataBytes);
  return { metadata: checkMetadata(file, metadata), tensors: new Map(tensors.map((t) => [t.name, t])) };
}

function parseObject(file: string, text: string): Record<string, unknown> {
  if (!text.startsWith('{')) throw badHeader(file, 'its header does not begin with {');
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw badHeader(file, `its header is not JSON (${(cause as Error).message})`, cause);
  }
}

function parseEntry(file: string, name: string, raw: unknown): SafetensorsEntry {
  const { dtype, shape, data_offsets: offsets } = (raw ?? {}) as Record<string, unknown>;
  if (!isFileDType(dtype))
    throw new RankineError(
      'formats/unsupported-dtype',
      `In ${file}, the tensor ${name} has the type ${String(dtype)}.`,
      `Types that can be read: ${Object.keys(FILE_BYTES).join(', ')}.`,
    );
  if (!isCounts(shape)) throw badHeader(file, `the tensor ${name} has no proper shape`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0] > offsets[1])
    throw badOffsets(file, `the tensor ${name} has the offsets ${JSON.stringify(offsets)}`);
  const [begin, end] = offsets;
  const needed = sizeOf(shape) * FILE_BYTES[dtype];
  if (end - begin !== needed)
    throw badOffsets(
      file,
      `the tensor ${name} of shape [${shape}] and type ${dtype} needs ${needed} bytes, but its offsets span ${end - begin}`,
    );
  return { name, dtype, shape, begin, end };
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

function checkTiling(file: string, tensors: SafetensorsEntry[], dataBytes: number): void {
  let position = 0;
  for (const { name, begin, end } of tensors) {
    if (begin < position) throw badOffsets(file, `the tensor ${name} overlaps the one before it`);
    if (begin > position)
      throw badOffsets(file, `bytes ${position} to ${begin}, before the tensor ${name}, belong to no tensor`);
    if (end > dataBytes)
      throw new RankineError(
        'formats/truncated',
        `${file} is truncated: the tensor ${name} ends at byte ${end} of the data, but only ${dataBytes} are there.`,
        'Download or write the file again.',
      );
    position = end;
  }
  if (position !== dataBytes)
    throw badOffsets(file, `${dataBytes - position} bytes follow the last tensor and belong to none`);
}

function checkMetadata(file: string, metadata: unknown): Record<string, string> {
  const isObject = typeof metadata === 'object' && metadata !== null && !Array.isArray(metadata);
  if (isObject && Object.values(metadata).every((v) => typeof v === 'string'))
    return metadata as Record<string, string>;
  throw badHeader(file, 'its __metadata__ is not a map from strings to strings');
}

function badHeader(file: string, fact: string, cause?: unknown): RankineError {
  const remedy =
    'Download or write it again; a web page or a git-lfs pointer saved under this name looks like this.';
  return new RankineError(
    'formats/safetensors-header',
    `${file} is no readable safetensors file: ${fact}.`,
    remedy,
    { cause },
  );
}

function badOffsets(file: string, fact: string): RankineError {
  return new RankineError(
    'formats/safetensors-offsets',
    `${file} is damaged: ${fact}.`,
    'Download or write the file again.',
  );
}
