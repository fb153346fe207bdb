import { basename } from 'node:path';
import Papa from 'papaparse';
import { RankineError } from '../errors.ts';
import { type Dataset, fromRows, once, type Row } from './dataset.ts';
import { type Boundary, readRecords, recordDataset, unpack } from './records.ts';

/** One JSON object per line; blank lines are skipped. */
export function jsonLines(path: string): Dataset {
  return recordDataset(
    path,
    () => byLine,
    (text, where) => asFields(parseJson(text, where), where),
  );
}

/**
 * A JSON array of objects, or an object with such an array as `data` (or `rows`). Held in memory as a whole.
 * @throws RankineError `data/broken-json`, `data/too-large`, `data/not-rows`
 */
export function jsonFile(path: string): Dataset {
  const name = basename(path);
  return deferred(name, async () => {
    const value = parseJson(await wholeText(path), name);
    const holder = value as { data?: unknown; rows?: unknown } | null;
    const list = Array.isArray(value) ? value : (holder?.data ?? holder?.rows);
    if (!Array.isArray(list))
      throw new RankineError(
        'data/not-rows',
        `${name} is neither a JSON array nor an object with an array "data".`,
        'Write the rows as a JSON array or as JSON lines.',
      );
    return list.map((item, i): Row => {
      const where = `${name}, row ${i + 1}`;
      return { fields: asFields(item, where), where };
    });
  });
}

/** How a plain text file is cut into rows `{text}`. */
export type TextUnit = 'line' | 'paragraph' | 'file';

/** Plain text: a row per line that is not blank, per paragraph (blank lines between), or one for the whole file. */
export function textFile(path: string, unit: TextUnit): Dataset {
  const name = basename(path);
  if (unit === 'file')
    return deferred(name, async () => [{ fields: { text: await wholeText(path) }, where: name }]);
  const boundary = unit === 'line' ? byLine : byParagraph;
  return recordDataset(
    path,
    () => boundary,
    (text) => ({ text }),
  );
}

export interface DelimitedOptions {
  readonly delimiter: ',' | '\t' | (string & {});
  /** The quoting character; false where quotes are ordinary characters. */
  readonly quote: string | false;
  /** Names of the columns where the file has no header line; by default the first line is the header. */
  readonly header?: readonly string[];
}

/**
 * CSV and TSV. A quoted field may hold delimiters, doubled quotes and line feeds (RFC 4180). Every value is a string.
 * @throws RankineError `data/broken-row` with the line where a row has more or fewer fields than the header
 */
export function delimitedFile(path: string, options: DelimitedOptions): Dataset {
  const boundary = options.quote === false ? () => byLine : () => byQuotedLine(options.quote as string);
  const split = (text: string, where: string) => splitFields(text, where, options);
  if (options.header) {
    const names = options.header;
    return recordDataset(path, boundary, (text, where) => named(names, split(text, where), where));
  }
  const header = once(async () => {
    for await (const record of readRecords(path, boundary()))
      return split(record.text, `${basename(path)}, header`);
    throw emptyFile(basename(path));
  });
  return withHeader(
    recordDataset(path, boundary, (text, where) => ({ cells: split(text, where) })),
    header,
  );
}

/** Drops the first row of `cells`, the header, and names the cells of the others by it. */
function withHeader(cells: Dataset, header: () => Promise<string[]>): Dataset {
  const toRow = (names: string[], row: Row): Row => ({
    where: row.where,
    fields: named(names, row.fields.cells as string[], row.where),
  });
  return {
    name: cells.name,
    async *rows() {
      const names = await header();
      let first = true;
      for await (const row of cells.rows()) {
        if (!first) yield toRow(names, row);
        first = false;
      }
    },
    count: async () => Math.max(0, (await cells.count()) - 1),
    at: async (index) => toRow(await header(), await cells.at(index + 1)),
  };
}

const blank = (line: Buffer) => line.every((byte) => byte === 32 || byte === 9 || byte === 13);

const byLine: Boundary = (line) => (blank(line) ? 'skip' : 'last');

const byParagraph: Boundary = (line, started) => {
  if (!blank(line)) return 'more';
  return started ? 'end' : 'skip';
};

/** A line feed ends a row only outside quotes: after an even number of quoting characters. */
function byQuotedLine(quote: string): Boundary {
  const byte = quote.charCodeAt(0);
  let inside = false;
  return (line, started) => {
    if (!started && blank(line)) return 'skip';
    for (let i = line.indexOf(byte); i !== -1; i = line.indexOf(byte, i + 1)) inside = !inside;
    return inside ? 'more' : 'last';
  };
}

function splitFields(text: string, where: string, { delimiter, quote }: DelimitedOptions): string[] {
  if (quote === false) return text.split(delimiter);
  const { data, errors } = Papa.parse<string[]>(text, { delimiter, quoteChar: quote, header: false });
  if (errors.length > 0)
    throw new RankineError(
      'data/broken-row',
      `${where}: ${errors[0].message}.`,
      'Double every quote inside a quoted field, or read the file with quote: false.',
    );
  return data[0];
}

function named(names: readonly string[], cells: readonly string[], where: string): Row['fields'] {
  if (cells.length !== names.length)
    throw new RankineError(
      'data/broken-row',
      `${where}: ${cells.length} fields, but the header names ${names.length} (${names.join(', ')}).`,
      'Correct the line, or set the delimiter, the quoting or the header of this file.',
    );
  return Object.fromEntries(names.map((name, i) => [name, cells[i]]));
}

function asFields(value: unknown, where: string): Row['fields'] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Row['fields'];
  throw new RankineError(
    'data/not-rows',
    `${where}: expected a JSON object, found ${JSON.stringify(value)?.slice(0, 40)}.`,
    'Write one object of named fields per row.',
  );
}

/** Parses JSON; the error names line and column. */
function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const before = text.slice(0, jsonErrorAt(text));
    const lines = before.split('\n');
    const line = lines.length > 1 ? `, line ${lines.length}` : '';
    throw new RankineError(
      'data/broken-json',
      `${where}${line}, column ${lines[lines.length - 1].length + 1}: broken JSON (${(cause as Error).message}).`,
      'Correct the line, or remove it.',
      { cause },
    );
  }
}

/**
 * Position of the first character that breaks the JSON. Engines word their messages differently and often leave
 * the position out; but a text cut before that character fails only because it ends, so bisection finds it.
 */
function jsonErrorAt(text: string): number {
  let good = 0;
  let bad = text.length + 1;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (failsOnlyByEnding(text.slice(0, middle))) good = middle;
    else bad = middle;
  }
  return good;
}

function failsOnlyByEnding(prefix: string): boolean {
  try {
    JSON.parse(prefix);
    return true;
  } catch (error) {
    const message = (error as Error).message;
    const position = /at position (\d+)/.exec(message);
    return /end of JSON|Unterminated string/.test(message) || Number(position?.[1] ?? -1) >= prefix.length;
  }
}

async function wholeText(path: string): Promise<string> {
  const bytes = await unpack(path);
  // The longest string that V8 holds.
  if (bytes.length > 0x1fffffe8)
    throw new RankineError(
      'data/too-large',
      `${basename(path)} has ${bytes.length} bytes, too many to read as one text.`,
      'Convert it to JSON lines, or read plain text by line or paragraph: both are streamed.',
    );
  return bytes.toString('utf8').replace(/^\uFEFF/, '');
}

/** A dataset in memory that is read at its first use. */
function deferred(name: string, read: () => Promise<Row[]>): Dataset {
  const inner = once(async () => fromRows(await read(), name));
  return {
    name,
    async *rows() {
      yield* (await inner()).rows();
    },
    count: async () => (await inner()).count(),
    at: async (index) => (await inner()).at(index),
  };
}

export function emptyFile(name: string): RankineError {
  return new RankineError(
    'data/empty',
    `${name} holds no rows.`,
    'Check the path, the split and the format.',
  );
}
