import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RankineError } from '../errors.ts';
import { writeAtomic } from '../formats/index.ts';
import { testOf } from './build-result.ts';
import { finishedRuns, rowName } from './naming.ts';
import type { Replay } from './replay.ts';
import type { ReplayRecord, StudyResult, StudyRun } from './results.ts';
import { caveatsOf, verdictOf } from './verdict.ts';

/** Where a study keeps what came of repeating its rows. */
export const REPLAYS_FILE = 'replays.json';

/**
 * What is known of a study's repetitions; empty where there were none.
 *
 * @throws RankineError `studies/broken-replays`
 */
export async function readReplays(folder: string): Promise<ReplayRecord[]> {
  const file = join(folder, REPLAYS_FILE);
  try {
    return JSON.parse(await readFile(file, 'utf8')).rows;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new RankineError(
      'studies/broken-replays',
      `${file} cannot be read: ${(cause as Error).message}.`,
      'Delete it: rows will be repeated anew.',
      { cause },
    );
  }
}

/** The records of a study, to be added to. */
export interface ReplayLog {
  readonly records: readonly ReplayRecord[];
  /** Resolves once the record is on the disk. */
  add(record: ReplayRecord): Promise<void>;
  forget(rows: readonly string[]): Promise<void>;
}

export async function openReplayLog(folder: string): Promise<ReplayLog> {
  let records: readonly ReplayRecord[] = await readReplays(folder);
  let writing: Promise<void> = Promise.resolve();
  const keep = (next: readonly ReplayRecord[]) => {
    records = next;
    const text = `${JSON.stringify({ rows: next }, null, 2)}\n`;
    writing = writing.then(() => writeAtomic(join(folder, REPLAYS_FILE), text));
    return writing;
  };
  const others = (rows: readonly string[]) => records.filter((r) => !rows.includes(r.row));
  return {
    get records() {
      return records;
    },
    add: (record) => keep([...others([record.row]), record]),
    forget: (rows) => keep(others(rows)),
  };
}

export function recordOf(run: StudyRun, replay: Replay, versions: ReplayRecord['versions']): ReplayRecord {
  const { same, weights, firstDifference, changed } = replay;
  const date = new Date().toISOString();
  return { row: rowName(run), key: run.key, same, firstDifference, weights, changed, date, versions };
}

/** What came of repeating this very run, under this or another name: default and tuned settings may be the same. */
export function recordFor(records: readonly ReplayRecord[], run: StudyRun): ReplayRecord | undefined {
  const own = records.filter((r) => r.key === run.key && r.weights.before === run.weightsHash);
  const record = own.find((r) => r.row === rowName(run)) ?? own[0];
  return record && { ...record, row: rowName(run) };
}

/** A result with what came of repeating its rows, and its words with that. */
export function withReplays(result: StudyResult, records: readonly ReplayRecord[]): StudyResult {
  const runs = finishedRuns(result);
  const replays = runs.flatMap((run) => recordFor(records, run) ?? []);
  const known = { ...result, replays, test: result.test ?? testOf(runs) };
  return { ...known, verdict: verdictOf(known), caveats: caveatsOf(known) };
}
