import { RankineError } from '../errors.ts';

/** One row with its place, for error messages. */
export interface Row {
  readonly fields: Readonly<Record<string, unknown>>;
  /** Where it stands, e.g. `train.jsonl, line 12`. */
  readonly where: string;
}

/**
 * Rows that can be streamed, and read by number. Streaming never holds more than one block of the file;
 * reading by number builds an index of the rows first.
 */
export interface Dataset {
  /** File name or names, for messages. */
  readonly name: string;
  /** All rows in file order. */
  rows(): AsyncIterable<Row>;
  /** Number of rows; reads through the file once. */
  count(): Promise<number>;
  /** Row `index`, from 0. */
  at(index: number): Promise<Row>;
}

/** Rows held in memory. */
export function fromRows(rows: readonly Row[], name: string): Dataset {
  return {
    name,
    async *rows() {
      yield* rows;
    },
    count: async () => rows.length,
    at: async (index) => rows[checked(index, rows.length, name)],
  };
}

/** Plain records as a dataset; row numbers in messages start at 1. */
export function fromRecords(records: readonly Record<string, unknown>[], name = 'rows'): Dataset {
  return fromRows(
    records.map((fields, i) => ({ fields, where: `${name}, row ${i + 1}` })),
    name,
  );
}

/** The rows of several datasets, one after the other. */
export function concatenate(parts: readonly Dataset[]): Dataset {
  if (parts.length === 1) return parts[0];
  const name = parts.map((part) => part.name).join(', ');
  const counts = once(() => Promise.all(parts.map((part) => part.count())));
  return {
    name,
    async *rows() {
      for (const part of parts) yield* part.rows();
    },
    count: async () => (await counts()).reduce((sum, n) => sum + n, 0),
    at: async (index) => {
      let left = index;
      for (const [i, count] of (await counts()).entries()) {
        if (left < count) return parts[i].at(left);
        left -= count;
      }
      throw outside(index, name);
    },
  };
}

/** Rows `skip` … `skip + limit - 1`. */
export function slice(dataset: Dataset, skip: number, limit = Infinity): Dataset {
  const count = once(async () => Math.max(0, Math.min(limit, (await dataset.count()) - skip)));
  return {
    name: dataset.name,
    async *rows() {
      if (limit === 0) return;
      let index = 0;
      for await (const row of dataset.rows()) {
        if (index >= skip) yield row;
        index++;
        if (index >= skip + limit) return;
      }
    },
    count,
    at: async (index) => dataset.at(skip + checked(index, await count(), dataset.name)),
  };
}

/** The rows with the given numbers, in that order. */
export function select(dataset: Dataset, indices: ArrayLike<number>): Dataset {
  const at = (index: number) => dataset.at(indices[checked(index, indices.length, dataset.name)]);
  return {
    name: dataset.name,
    async *rows() {
      for (let i = 0; i < indices.length; i++) yield await at(i);
    },
    count: async () => indices.length,
    at,
  };
}

/**
 * Renames columns: `{ prompt: 'question' }` gives every row a field `prompt` with the value of `question`.
 * @throws RankineError `data/missing-field` with the row
 */
export function renameColumns(dataset: Dataset, columns: Readonly<Record<string, string>>): Dataset {
  return mapRows(dataset, (row) => {
    const taken = new Set(Object.values(columns));
    const fields = Object.fromEntries(Object.entries(row.fields).filter(([key]) => !taken.has(key)));
    for (const [wanted, column] of Object.entries(columns)) {
      if (!(column in row.fields)) throw missingField(row, [column]);
      fields[wanted] = row.fields[column];
    }
    return { ...row, fields };
  });
}

/** Applies `change` to every row as it is read. */
export function mapRows(dataset: Dataset, change: (row: Row) => Row): Dataset {
  return {
    name: dataset.name,
    async *rows() {
      for await (const row of dataset.rows()) yield change(row);
    },
    count: () => dataset.count(),
    at: async (index) => change(await dataset.at(index)),
  };
}

/** The error for a row without a field that it needs. */
export function missingField(row: Row, missing: readonly string[]): RankineError {
  const present = Object.keys(row.fields).join(', ') || 'none';
  return new RankineError(
    'data/missing-field',
    `${row.where}: the field ${missing.map((m) => `"${m}"`).join(', ')} is missing; present: ${present}.`,
    'Correct the row, or name the column under `columns`, e.g. {prompt: question}.',
  );
}

/** Calls `make` at the first use and keeps the promise; a failure is tried again. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let kept: Promise<T> | undefined;
  return () => {
    kept ??= make().catch((error) => {
      kept = undefined;
      throw error;
    });
    return kept;
  };
}

export function checked(index: number, length: number, name: string): number {
  if (index >= 0 && index < length) return index;
  throw outside(index, name);
}

function outside(index: number, name: string): RankineError {
  return new RankineError('data/row-number', `${name} has no row number ${index} (counted from 0).`);
}
