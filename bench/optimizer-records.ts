import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { exists, writeAtomic } from '../src/formats/atomic.ts';
import type { Recipe } from '../src/training/index.ts';

/** What one process did in a round. */
export interface Timed {
  /** Milliseconds of each ordinary update. */
  readonly ordinary: readonly number[];
  /** Of the update with each kind of refresh. */
  readonly refreshed: readonly number[];
  /** Highest resident memory, in bytes. */
  readonly peak?: number;
}

export interface Round {
  readonly ours: Timed;
  readonly pytorch?: Timed;
  /** The run that the row is measured beside: an update after each of the row's. */
  readonly beside: Omit<Timed, 'refreshed'>;
}

/** A row on a model as it was measured. */
export interface OptimizerRecord {
  /** What was run: rows whose recipe has changed since are measured anew. */
  readonly recipe: Recipe;
  /** Bytes by the estimator, for the whole process and for optimizer state. */
  readonly predicted: { readonly peak: number; readonly state: number };
  /** Most bytes of optimizer state at once, counted from its arrays. */
  readonly state: number;
  readonly rounds: readonly Round[];
}

/** Measurements by `<model>/<row>`, kept in a file between sittings where there is one. */
export interface OptimizerRecords {
  /** The record of this very recipe. */
  get(name: string, recipe: Recipe): OptimizerRecord | undefined;
  put(name: string, record: OptimizerRecord): Promise<void>;
}

interface RecordsFile {
  readonly processor: string;
  readonly records: Record<string, OptimizerRecord>;
}

/** @throws Error where the file is of another processor: its times do not compare */
export async function openRecords(path: string | undefined): Promise<OptimizerRecords> {
  const processor = cpus()[0].model;
  const old = path && (await exists(path)) ? await readFile(path, 'utf8') : undefined;
  const file: RecordsFile = old ? JSON.parse(old) : { processor, records: {} };
  if (file.processor !== processor)
    throw new Error(`${path} was measured on ${file.processor}, this is ${processor}: give another file.`);
  return {
    get(name, recipe) {
      const found = file.records[name];
      return JSON.stringify(found?.recipe) === JSON.stringify(recipe) ? found : undefined;
    },
    async put(name, record) {
      file.records[name] = record;
      if (path) await writeAtomic(path, `${JSON.stringify(file, null, 1)}\n`);
    },
  };
}
