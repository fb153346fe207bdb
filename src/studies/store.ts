import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DuckDBConnection } from '@duckdb/node-api';
import { RankineError } from '../errors.ts';
import type { Curve, Measured, StudyRun } from './results.ts';
import type { Scored } from './score.ts';

/** A finished training run, whatever study it was for. */
export interface StoredRun
  extends Pick<StudyRun, 'key' | 'seed' | 'recipe' | 'folder' | 'hardware' | 'versions'> {
  readonly trainable: number;
  readonly size: number;
  readonly measured: Measured;
  readonly validation?: number;
  readonly modelHash: string;
  readonly dataHash: string;
  readonly curves: readonly Curve[];
}

/**
 * Runs that are done, in a DuckDB file that other tools open too. The file is opened for each call and closed after it:
 * studies share it, and DuckDB lets one process write at a time.
 */
export interface Store {
  readonly path: string;
  run(key: string): Promise<StoredRun | undefined>;
  /** @param judgedBy hash of what a run was scored on */
  scores(key: string, judgedBy: string): Promise<Scored | undefined>;
  saveRun(run: StoredRun): Promise<void>;
  saveScores(key: string, judgedBy: string, scored: Scored): Promise<void>;
  /** Records which runs a study is made of, for queries. */
  saveStudy(study: string, runs: readonly StudyRun[]): Promise<void>;
  /** `runs.parquet`, `scores.parquet`, `curves.parquet`, `studies.parquet`. */
  exportParquet(folder: string): Promise<void>;
}

const TABLES = `
create table if not exists runs (
  key varchar primary key, adapter varchar, optimizer varchar, seed integer, rate double, steps integer,
  trainable bigint, size bigint, validation double, peak_memory bigint, wall double, processor double,
  model_hash varchar, data_hash varchar, folder varchar, finished timestamp, entry json);
create table if not exists scores (
  key varchar, judged_by varchar, metric varchar, direction varchar, mean double, examples double[],
  weights_hash varchar, entry json, primary key (key, judged_by, metric));
create table if not exists curves (key varchar, name varchar, step integer, value double);
create table if not exists studies (study varchar, method varchar, purpose varchar, seed integer, state varchar, key varchar);
`;

/** How long to wait for another process that has the file. */
const PATIENCE = 15_000;

/** @throws RankineError `studies/no-duckdb`, and from its calls `studies/store-locked`, `studies/store-broken` */
export async function openStore(file: string): Promise<Store> {
  const path = resolve(file);
  const duckdb = await loadDuckdb();
  await mkdir(dirname(path), { recursive: true });

  const connected = <T>(work: (db: DuckDBConnection) => Promise<T>): Promise<T> =>
    inTurn(path, () => connect(work));

  async function connect<T>(work: (db: DuckDBConnection) => Promise<T>): Promise<T> {
    const instance = await openPatiently(() => duckdb.DuckDBInstance.create(path), path);
    try {
      const db = await instance.connect();
      try {
        await db.run(TABLES);
        return await work(db);
      } finally {
        db.closeSync();
      }
    } finally {
      instance.closeSync();
    }
  }
  const entry = async <T>(sql: string, values: string[]): Promise<T | undefined> =>
    connected(async (db) => {
      const [row] = (await db.runAndReadAll(sql, values)).getRows();
      return row && (JSON.parse(String(row[0])) as T);
    });

  return {
    path,
    run: (key) => entry('select entry from runs where key = $1', [key]),
    scores: (key, judgedBy) =>
      entry('select entry from scores where key = $1 and judged_by = $2 limit 1', [key, judgedBy]),
    saveRun: (run) =>
      connected(async (db) => {
        await db.run('begin');
        await db.run('delete from runs where key = $1', [run.key]);
        await db.run('delete from curves where key = $1', [run.key]);
        await db.run(
          'insert into runs values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, now(), $16)',
          [
            ...[run.key, run.recipe.adapter.method, run.recipe.optimizer.method, run.seed, run.recipe.rate],
            ...[run.recipe.steps ?? null, BigInt(run.trainable), BigInt(run.size), run.validation ?? null],
            ...[BigInt(run.measured.peakMemory), run.measured.wall, run.measured.processor],
            ...[run.modelHash, run.dataHash, run.folder, JSON.stringify(run)],
          ],
        );
        const appender = await db.createAppender('curves');
        for (const { name, steps, values } of run.curves)
          steps.forEach((step, i) => {
            appender.appendVarchar(run.key);
            appender.appendVarchar(name);
            appender.appendInteger(step);
            appender.appendDouble(values[i]);
            appender.endRow();
          });
        appender.closeSync();
        await db.run('commit');
      }),
    saveScores: (key, judgedBy, scored) =>
      connected(async (db) => {
        await db.run('begin');
        await db.run('delete from scores where key = $1 and judged_by = $2', [key, judgedBy]);
        for (const { metric, direction, mean, examples } of scored.scores)
          await db.run('insert into scores values ($1, $2, $3, $4, $5, ($6::json)::double[], $7, $8)', [
            key,
            judgedBy,
            metric,
            direction,
            mean,
            JSON.stringify(examples),
            scored.weightsHash ?? null,
            JSON.stringify(scored),
          ]);
        await db.run('commit');
      }),
    saveStudy: (study, runs) =>
      connected(async (db) => {
        await db.run('begin');
        await db.run('delete from studies where study = $1', [study]);
        for (const run of runs)
          await db.run('insert into studies values ($1, $2, $3, $4, $5, $6)', [
            ...[study, run.method, run.purpose, run.seed, run.state, run.key],
          ]);
        await db.run('commit');
      }),
    exportParquet: async (folder) => {
      await mkdir(folder, { recursive: true });
      await connected(async (db) => {
        for (const table of ['runs', 'scores', 'curves', 'studies']) {
          const target = join(resolve(folder), `${table}.parquet`).replaceAll("'", "''");
          await db.run(`copy ${table} to '${target}' (format parquet)`);
        }
      });
    },
  };
}

/** The last call on each file of this process. */
const turns = new Map<string, Promise<unknown>>();

/**
 * Runs calls on one file after another. The lock of a file keeps out other processes, not this one: two instances that
 * this process has open at once overwrite each other, and what one wrote is gone although it was acknowledged.
 */
function inTurn<T>(path: string, work: () => Promise<T>): Promise<T> {
  const turn = (turns.get(path) ?? Promise.resolve()).then(work, work);
  turns.set(path, turn);
  return turn;
}

async function loadDuckdb() {
  try {
    return await import('@duckdb/node-api');
  } catch (cause) {
    throw new RankineError(
      'studies/no-duckdb',
      'Studies keep their runs in DuckDB, which is not installed (it is optional, and exists for x64 and arm64).',
      'Install it: npm install @duckdb/node-api.',
      { cause },
    );
  }
}

async function openPatiently<T>(open: () => Promise<T>, path: string): Promise<T> {
  const until = Date.now() + PATIENCE;
  for (;;) {
    try {
      return await open();
    } catch (cause) {
      const message = (cause as Error).message;
      const locked = /lock|being used by another/i.test(message);
      if (locked && Date.now() < until) {
        await sleep(100);
        continue;
      }
      throw locked
        ? new RankineError(
            'studies/store-locked',
            `The database ${path} is in use by another program: ${message}`,
            'Close that program (DuckDB lets one write at a time), then start the study again; nothing is lost.',
            { cause },
          )
        : new RankineError(
            'studies/store-broken',
            `The database ${path} cannot be opened: ${message}`,
            'Move it away: a study makes it anew from the folders of its runs.',
            { cause },
          );
    }
  }
}
