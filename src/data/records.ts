import { createReadStream } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import { createGunzip, gunzip } from 'node:zlib';
import { RankineError } from '../errors.ts';
import { checked, type Dataset, once, type Row } from './dataset.ts';

/** A piece of a file that holds one row. */
export interface TextRecord {
  /** First byte and the byte after the last, in the unpacked file. */
  readonly start: number;
  readonly end: number;
  /** Number of its first line, from 1. */
  readonly line: number;
  readonly text: string;
}

/**
 * Where rows end, asked of every line (without its line feed):
 * `skip` the line belongs to no row; `more` it belongs to the row, which goes on; `last` it completes the row;
 * `end` the row was complete before it and the line belongs to none. `started` says whether a row is open.
 */
export type Boundary = (line: Buffer, started: boolean) => 'skip' | 'more' | 'last' | 'end';

/**
 * A dataset of text records, streamed in blocks. Reading by number keeps 24 bytes a row (start, end and line) and
 * reads each row from the disk; a gzipped file is unpacked into memory for it, up to 1 GiB.
 * @param boundary makes a fresh boundary for a pass over the file
 * @param parse    turns the text of a record into fields; `where` names file and line for its errors
 */
export function recordDataset(
  path: string,
  boundary: () => Boundary,
  parse: (text: string, where: string) => Row['fields'],
): Dataset {
  const name = basename(path);
  const toRow = (text: string, line: number): Row => {
    const where = `${name}, line ${line}`;
    return { fields: parse(text, where), where };
  };
  const index = once(() => buildIndex(path, boundary()));
  const unpacked = once(() => unpack(path));
  return {
    name,
    async *rows() {
      for await (const record of readRecords(path, boundary())) yield toRow(record.text, record.line);
    },
    count: async () => (await index()).lines.length,
    at: async (i) => {
      const { starts, ends, lines } = await index();
      checked(i, lines.length, name);
      const bytes = isGzip(path)
        ? (await unpacked()).subarray(starts[i], ends[i])
        : await readRange(path, starts[i], ends[i]);
      return toRow(withoutReturn(bytes).toString('utf8'), lines[i]);
    },
  };
}

/** Streams the records of a file, gzipped or not. A UTF-8 byte order mark is skipped. */
export async function* readRecords(path: string, boundary: Boundary): AsyncGenerator<TextRecord> {
  let open: { lines: Buffer[]; start: number; end: number; line: number } | undefined;
  let line = 0;
  for await (const { bytes, offset } of readLines(path)) {
    line++;
    const verdict = boundary(bytes, open !== undefined);
    if (verdict === 'more' || verdict === 'last') {
      open ??= { lines: [], start: offset, end: offset, line };
      open.lines.push(bytes);
      open.end = offset + bytes.length;
    }
    if (open && (verdict === 'last' || verdict === 'end')) {
      yield toRecord(open);
      open = undefined;
    }
  }
  if (open) yield toRecord(open);
}

function toRecord(open: { lines: Buffer[]; start: number; end: number; line: number }): TextRecord {
  const bytes = open.lines.length === 1 ? open.lines[0] : Buffer.concat(joined(open.lines));
  return { start: open.start, end: open.end, line: open.line, text: withoutReturn(bytes).toString('utf8') };
}

async function* readLines(path: string): AsyncGenerator<{ bytes: Buffer; offset: number }> {
  let rest: Buffer[] = [];
  let offset = 0;
  let atStart = true;
  for await (const block of blocks(path)) {
    let from = 0;
    if (atStart && block.length >= 3 && block[0] === 0xef && block[1] === 0xbb && block[2] === 0xbf) {
      from = 3;
      offset = 3;
    }
    atStart = false;
    for (let to = block.indexOf(LF, from); to !== -1; to = block.indexOf(LF, from)) {
      const tail = block.subarray(from, to);
      const bytes = rest.length === 0 ? tail : Buffer.concat([...rest, tail]);
      yield { bytes, offset };
      offset += bytes.length + 1;
      rest = [];
      from = to + 1;
    }
    if (from < block.length) rest.push(block.subarray(from));
  }
  if (rest.length > 0) yield { bytes: Buffer.concat(rest), offset };
}

const LF = 10;
const CR = 13;
const BLOCK = 1 << 18;
const UNPACK_LIMIT = 2 ** 30;

function blocks(path: string): AsyncIterable<Buffer> {
  const file = createReadStream(path, { highWaterMark: BLOCK });
  if (!isGzip(path)) return file;
  const unpacker = createGunzip();
  // pipe() does not forward errors of its source.
  file.on('error', (error) => unpacker.destroy(error));
  return describeGzip(file.pipe(unpacker), path);
}

async function* describeGzip(stream: AsyncIterable<Buffer>, path: string): AsyncGenerator<Buffer> {
  try {
    yield* stream;
  } catch (cause) {
    if (!String((cause as NodeJS.ErrnoException).code).startsWith('Z_')) throw cause;
    throw new RankineError(
      'data/broken-gzip',
      `${basename(path)} is no complete gzip file: ${(cause as Error).message}.`,
      'Download it again.',
      { cause },
    );
  }
}

export function isGzip(path: string): boolean {
  return path.endsWith('.gz');
}

function joined(lines: readonly Buffer[]): Buffer[] {
  return lines.flatMap((line, i) => (i === 0 ? [line] : [Buffer.of(LF), line]));
}

function withoutReturn(bytes: Buffer): Buffer {
  return bytes.at(-1) === CR ? bytes.subarray(0, -1) : bytes;
}

interface Index {
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  readonly lines: Float64Array;
}

async function buildIndex(path: string, boundary: Boundary): Promise<Index> {
  const starts: number[] = [];
  const ends: number[] = [];
  const lines: number[] = [];
  for await (const record of readRecords(path, boundary)) {
    starts.push(record.start);
    ends.push(record.end);
    lines.push(record.line);
  }
  return {
    starts: Float64Array.from(starts),
    ends: Float64Array.from(ends),
    lines: Float64Array.from(lines),
  };
}

async function readRange(path: string, start: number, end: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const bytes = Buffer.alloc(end - start);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, start);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** The whole unpacked content of a file. */
export async function unpack(path: string): Promise<Buffer> {
  if (!isGzip(path)) return readFile(path);
  const bytes = await promisify(gunzip)(await readFile(path), { maxOutputLength: UNPACK_LIMIT }).catch(
    (cause: NodeJS.ErrnoException) => {
      const large = cause.code === 'ERR_BUFFER_TOO_LARGE';
      throw new RankineError(
        large ? 'data/too-large' : 'data/broken-gzip',
        `${basename(path)} ${large ? 'unpacks to more than 1 GiB' : `is no complete gzip file: ${cause.message}`}.`,
        large ? 'Unpack it with gunzip: then its rows can be read from the disk.' : 'Download it again.',
        { cause },
      );
    },
  );
  return bytes;
}
