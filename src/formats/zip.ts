import { RankineError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';

/** One file inside a zip archive. */
export interface ZipEntry {
  readonly path: string;
  /** Bytes of the content, which is stored without compression. */
  readonly size: number;
  /** Where the entry's local header begins. */
  readonly headerOffset: number;
}

const END = 0x06054b50;
const END64_LOCATOR = 0x07064b50;
const END64 = 0x06064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const UNKNOWN32 = 0xffffffff;

/**
 * Reads the directory of a zip archive (zip64 included) whose entries are stored uncompressed, as PyTorch writes them.
 *
 * @throws RankineError `formats/broken-zip`; `formats/compressed-entry` for a deflated one
 */
export async function readZipDirectory(source: ByteSource): Promise<Map<string, ZipEntry>> {
  const { offset, size, count } = await findDirectory(source);
  const bytes = await source.read(offset, size);
  const view = new DataView(bytes.buffer);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > size || view.getUint32(at, true) !== CENTRAL)
      throw broken(source, `entry ${i} of its directory is damaged`);
    const lengths = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    const next = at + 46 + lengths[0] + lengths[1] + lengths[2];
    if (next > size) throw broken(source, `entry ${i} of its directory is cut off`);
    const entry = parseEntry(source, view, at);
    entries.set(entry.path, entry);
    at = next;
  }
  return entries;
}

/** Offset of an entry's content: after its local header, whose length only that header tells. */
export async function contentOffset(source: ByteSource, entry: ZipEntry): Promise<number> {
  const bytes = await source.read(entry.headerOffset, 30);
  const view = new DataView(bytes.buffer);
  if (view.getUint32(0, true) !== LOCAL) throw broken(source, `the entry ${entry.path} has no header`);
  return entry.headerOffset + 30 + view.getUint16(26, true) + view.getUint16(28, true);
}

async function findDirectory(source: ByteSource): Promise<{ offset: number; size: number; count: number }> {
  const tailSize = Math.min(source.size, 22 + 65535);
  const tailStart = source.size - tailSize;
  const view = new DataView((await source.read(tailStart, tailSize)).buffer);
  let end = tailSize - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end--;
  if (end < 0) throw broken(source, 'it has no end record, so it is truncated or no zip archive at all');
  const directory = {
    count: view.getUint16(end + 10, true),
    size: view.getUint32(end + 12, true),
    offset: view.getUint32(end + 16, true),
  };
  const locator = end - 20;
  const isZip64 = locator >= 0 && view.getUint32(locator, true) === END64_LOCATOR;
  return isZip64 ? readEnd64(source, getUint64(view, locator + 8)) : directory;
}

async function readEnd64(source: ByteSource, offset: number) {
  const view = new DataView((await source.read(offset, 56)).buffer);
  if (view.getUint32(0, true) !== END64) throw broken(source, 'its zip64 end record is damaged');
  return { count: getUint64(view, 32), size: getUint64(view, 40), offset: getUint64(view, 48) };
}

function parseEntry(source: ByteSource, view: DataView, at: number): ZipEntry {
  const nameLength = view.getUint16(at + 28, true);
  const extraLength = view.getUint16(at + 30, true);
  const path = new TextDecoder().decode(new Uint8Array(view.buffer, at + 46, nameLength));
  if (view.getUint16(at + 10, true) !== 0)
    throw new RankineError(
      'formats/compressed-entry',
      `In ${source.name}, the entry ${path} is compressed; PyTorch stores its entries uncompressed.`,
      'Repack the archive without compression (zip -0), or save it again with torch.save.',
    );
  const wide = zip64Fields(view, at + 46 + nameLength, extraLength);
  // The zip64 field holds only what the 32-bit fields cannot, in this order: size, compressed size, offset.
  const take = (value: number) => (value === UNKNOWN32 ? (wide.shift() ?? value) : value);
  const size = take(view.getUint32(at + 24, true));
  take(view.getUint32(at + 20, true));
  return { path, size, headerOffset: take(view.getUint32(at + 42, true)) };
}

function zip64Fields(view: DataView, start: number, length: number): number[] {
  for (let at = start; at + 4 <= start + length; ) {
    const fieldLength = view.getUint16(at + 2, true);
    if (view.getUint16(at, true) === 1 && at + 4 + fieldLength <= start + length)
      return Array.from({ length: Math.floor(fieldLength / 8) }, (_, i) => getUint64(view, at + 4 + 8 * i));
    at += 4 + fieldLength;
  }
  return [];
}

function getUint64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

function broken(source: ByteSource, fact: string): RankineError {
  return new RankineError(
    'formats/broken-zip',
    `${source.name} is no readable zip archive: ${fact}.`,
    'Download or write the file again.',
  );
}
