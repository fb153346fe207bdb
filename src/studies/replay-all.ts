import { readFile, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { RankineError } from '../errors.ts';
import { type TrainEvent, takeLock } from '../training/index.ts';
import { type ContentHasher, contentHasher, currentVersions } from './key.ts';
import { finishedRuns, rowName } from './naming.ts';
import { inPool } from './pool.ts';
import { openStudyRow, type Row, refuseOtherData, replay } from './replay.ts';
import { openReplayLog, type ReplayLog, recordFor, recordOf } from './replays.ts';
import type { ReplayRecord, StudyResult, StudyRun } from './results.ts';
import { readResult } from './rows.ts';

export interface ReplayAllOptions {
  readonly treatment?: 'default' | 'tuned';
  readonly seed?: number;
  /** Repetitions at once; default: the study's own. */
  readonly parallel?: number;
  /** Repeats rows too that were repeated before. */
  readonly again?: boolean;
  /** Leaves the folders of repetitions that came out the same. */
  readonly keep?: boolean;
  /** Folder of the repetitions; default: `replays` in the study's. */
  readonly output?: string;
}

export interface ReplayAllHost {
  emit(event: ReplayEvent): void;
  readonly signal: AbortSignal;
}

/** What a repetition of many rows tells while it goes on. Rows of one run go together. */
export type ReplayEvent =
  | { readonly type: 'begin'; readonly rows: number; readonly known: number }
  | { readonly type: 'progress'; readonly row: string; readonly event: TrainEvent }
  | { readonly type: 'end'; readonly record: ReplayRecord }
  | { readonly type: 'failed'; readonly row: string; readonly reason: string }
  | { readonly type: 'stopped'; readonly row: string };

export interface ReplayAll {
  /** Rows that were asked for. */
  readonly rows: number;
  readonly same: number;
  readonly differing: readonly ReplayRecord[];
  /** Rows whose repetition did not get through. */
  readonly failed: readonly { readonly row: string; readonly reason: string }[];
  /** Of all, those that were known before. */
  readonly known: number;
  /** Rows that are still to come: it was stopped. */
  readonly left: number;
}

/**
 * Repeats every finished row of a study, so many at a time, and records each outcome in its folder: what is recorded is
 * not done again, and a repetition that was cut off goes on.
 *
 * @throws RankineError `studies/no-row`, `studies/no-result`, `studies/other-data`, `training/folder-locked` where
 *   another process works in the study's folder
 */
export async function replayAll(
  folder: string,
  options: ReplayAllOptions,
  host: ReplayAllHost,
): Promise<ReplayAll> {
  const asked = askedRuns(await readResult(folder), options);
  const lock = await takeLock(join(folder, 'study.lock'));
  try {
    const log = await openReplayLog(folder);
    // Stopped, it goes on without being asked to begin again.
    if (options.again) await log.forget(asked.map(rowName));
    const open = asked.filter((run) => recordFor(log.records, run) === undefined);
    host.emit({ type: 'begin', rows: asked.length, known: asked.length - open.length });
    const failed = await repeat(folder, open, log, options, host);
    return summary(asked, asked.length - open.length, log, failed);
  } finally {
    await lock.release();
  }
}

function askedRuns(result: StudyResult, { treatment, seed }: ReplayAllOptions): StudyRun[] {
  const runs = finishedRuns(result).filter(
    (r) => (treatment === undefined || r.purpose === treatment) && (seed === undefined || r.seed === seed),
  );
  if (runs.length > 0) return runs;
  const what = [
    ...(treatment === undefined ? [] : [`${treatment} settings`]),
    ...(seed === undefined ? [] : [`seed ${seed}`]),
  ];
  throw new RankineError(
    'studies/no-row',
    `The study ${result.name} has no finished run${what.length > 0 ? ` of ${what.join(' and ')}` : ''}.`,
    `Rows: ${finishedRuns(result).map(rowName).join(', ') || 'none yet'}.`,
  );
}

/** Rows of one run: default settings may also be the tuned ones. */
interface Group {
  readonly runs: readonly StudyRun[];
  readonly row: Row;
  readonly output: string;
}

async function repeat(
  folder: string,
  open: readonly StudyRun[],
  log: ReplayLog,
  options: ReplayAllOptions,
  host: ReplayAllHost,
): Promise<ReplayAll['failed']> {
  const parent = options.output ?? join(folder, 'replays');
  const keys = [...new Set(open.map((r) => r.key))];
  const groups = await Promise.all(
    keys.map(async (key): Promise<Group> => {
      const runs = open.filter((r) => r.key === key);
      return { runs, row: await openStudyRow(folder, runs[0]), output: join(parent, key.slice(0, 16)) };
    }),
  );
  const hasher = contentHasher();
  // All before the first: an hour in, other data would be no news.
  for (const { row } of groups) await refuseOtherData(row, hasher);
  const failed: { row: string; reason: string }[] = [];
  const jobs = groups.map((group) => async () => {
    try {
      await repeatOne(group, hasher, log, options, host);
    } catch (error) {
      if (!(error instanceof RankineError)) throw error;
      for (const run of group.runs) {
        const failure = { row: rowName(run), reason: error.message };
        failed.push(failure);
        host.emit({ type: 'failed', ...failure });
      }
    }
  });
  await inPool(jobs, options.parallel ?? (await studyParallel(folder)), host.signal);
  // It goes where nothing is left in it.
  await rmdir(parent).catch(() => undefined);
  return failed;
}

async function repeatOne(
  { runs, row, output }: Group,
  hasher: ContentHasher,
  log: ReplayLog,
  { again, keep }: ReplayAllOptions,
  { emit, signal }: ReplayAllHost,
): Promise<void> {
  const name = rowName(runs[0]);
  if (again) await rm(output, { recursive: true, force: true });
  const onEvent = (event: unknown) => emit({ type: 'progress', row: name, event: event as TrainEvent });
  const outcome = await replay(row, { output, onEvent, signal, hasher });
  if (!outcome) return emit({ type: 'stopped', row: name });
  for (const run of runs) {
    const record = recordOf(run, outcome, currentVersions());
    await log.add(record);
    emit({ type: 'end', record });
  }
  if (outcome.same && !keep) await rm(output, { recursive: true, force: true });
}

async function studyParallel(folder: string): Promise<number> {
  return JSON.parse(await readFile(join(folder, 'study.json'), 'utf8')).parallel;
}

function summary(
  asked: readonly StudyRun[],
  known: number,
  { records }: ReplayLog,
  failed: ReplayAll['failed'],
): ReplayAll {
  const ended = asked.flatMap((run) => recordFor(records, run) ?? []);
  const differing = ended.filter((r) => !r.same);
  return {
    rows: asked.length,
    same: ended.length - differing.length,
    differing,
    failed,
    known,
    left: asked.length - ended.length - failed.length,
  };
}
