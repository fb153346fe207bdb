import { basename } from 'node:path';
import { type FileMetaData, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { asyncBufferFromFile } from 'hyparquet/src/node.js';
import { compressors } from 'hyparquet-compressors';
import { RankineError } from '../errors.ts';
import { checked, type Dataset, once, type Row } from './dataset.ts';

/** Unpacked bytes of row groups kept for reading by number. */
const KEPT_BYTES = 256 * 2 ** 20;

interface Group {
  readonly first: number;
  readonly count: number;
  readonly bytes: number;
}

/**
 * A Parquet file, streamed one row group at a time. Reading by number decodes the row group that holds the row and
 * keeps the latest ones up to 256 MiB. 64-bit integers that fit come as plain numbers.
 * @param binary byte columns that are not declared as text stay bytes
 * @throws RankineError `data/broken-parquet`
 */
export function parquetFile(path: string, binary = false): Dataset {
  const name = basename(path);
  const opened = once(() => openParquet(path, binary));
  const kept = new Map<Group, Row[]>();
  const load = async (group: Group): Promise<Row[]> => {
    const rows = kept.get(group) ?? (await readGroup(await opened(), group, name));
    kept.delete(group);
    kept.set(group, rows);
    dropOldest(kept);
    return rows;
  };
  return {
    name,
    async *rows() {
      const file = await opened();
      for (const group of file.groups) yield* await readGroup(file, group, name);
    },
    count: async () => Number((await opened()).metadata.num_rows),
    at: async (index) => {
      const { groups, metadata } = await opened();
      checked(index, Number(metadata.num_rows), name);
      const group = groups.find((g) => index < g.first + g.count) as Group;
      return (await load(group))[index - group.first];
    },
  };
}

interface Opened {
  readonly buffer: Awaited<ReturnType<typeof asyncBufferFromFile>>;
  readonly metadata: FileMetaData;
  readonly groups: readonly Group[];
  readonly binary: boolean;
}

async function openParquet(path: string, binary: boolean): Promise<Opened> {
  const buffer = await asyncBufferFromFile(path);
  const metadata = await parquetMetadataAsync(buffer).catch((cause) => {
    throw broken(basename(path), cause);
  });
  let first = 0;
  const groups = metadata.row_groups.map((group) => {
    const count = Number(group.num_rows);
    const made = { first, count, bytes: Number(group.total_byte_size) };
    first += count;
    return made;
  });
  return { buffer, metadata, groups, binary };
}

async function readGroup({ buffer, metadata, binary }: Opened, group: Group, name: string): Promise<Row[]> {
  const rows = await parquetReadObjects({
    file: buffer,
    metadata,
    rowStart: group.first,
    rowEnd: group.first + group.count,
    compressors,
    utf8: !binary,
  }).catch((cause) => {
    throw broken(name, cause);
  });
  return rows.map((fields, i) => ({
    fields: plainIntegers(fields) as Row['fields'],
    where: `${name}, row ${group.first + i + 1}`,
  }));
}

/** bigint becomes number where nothing is lost, inside lists and records too. */
function plainIntegers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(plainIntegers);
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plainIntegers(inner)]));
  return value;
}

function dropOldest(kept: Map<Group, Row[]>): void {
  let bytes = 0;
  for (const group of kept.keys()) bytes += group.bytes;
  for (const group of kept.keys()) {
    if (bytes <= KEPT_BYTES || kept.size === 1) return;
    bytes -= group.bytes;
    kept.delete(group);
  }
}

function broken(name: string, cause: Error): RankineError {
  return new RankineError(
    'data/broken-parquet',
    `${name} cannot be read as Parquet: ${cause.message}.`,
    'Download or write the file again.',
    { cause },
  );
}
