import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from '../formats/index.ts';
import { type TrainEvent, takeLock } from '../training/index.ts';
import { type Planned, planStudy } from './budget.ts';
import { baseScores, judging } from './judge.ts';
import { canonical, contentHasher } from './key.ts';
import { type Settings, studyMethods } from './methods.ts';
import { doRun } from './one-run.ts';
import { settlePace } from './pace.ts';
import { inPool } from './pool.ts';
import type { Curve, StudyRun } from './results.ts';
import type { Scored } from './score.ts';
import { openStore } from './store.ts';
import { type Study, storeFile } from './study.ts';
import type { StudyParts } from './study-parts.ts';
import { tune } from './tune.ts';
import { rungs, trialSettings } from './tuning.ts';

/** What a study tells while it goes on. */
export type StudyEvent =
  | { readonly type: 'plan'; readonly planned: readonly Planned[] }
  | { readonly type: 'run'; readonly run: StudyRun; readonly reused?: boolean }
  | { readonly type: 'progress'; readonly run: StudyRun; readonly event: TrainEvent }
  | { readonly type: 'notice'; readonly text: string };

/** Everything that a study has so far. */
export interface StudyState {
  readonly study: Study;
  readonly planned: readonly Planned[];
  readonly runs: readonly StudyRun[];
  /** Settings that tuning chose, by method. */
  readonly tuned: ReadonlyMap<string, Settings>;
  readonly base?: Scored;
  readonly curves: ReadonlyMap<string, readonly Curve[]>;
  /** Runs that are known to belong to the study. */
  readonly total: number;
}

export interface StudyHost {
  emit(event: StudyEvent, state: StudyState): void;
  /** False ends the study before anything runs. */
  confirm(planned: readonly Planned[]): Promise<boolean>;
  readonly signal: AbortSignal;
}

/**
 * Runs a study, or goes on with it: what is in the store is not run again, and a run that was cut off resumes from its
 * last checkpoint.
 *
 * @returns undefined where it was not confirmed
 * @throws RankineError `training/folder-locked` where another process runs it; those of `planStudy` and `openStore`
 */
export async function runStudy(study: Study, host: StudyHost): Promise<StudyState | undefined> {
  const planned = await planStudy(study, studyMethods(study));
  if (!(await host.confirm(planned))) return undefined;
  await mkdir(study.output, { recursive: true });
  const lock = await takeLock(join(study.output, 'study.lock'));
  try {
    await noteChange(study, host);
    return await conduct(study, planned, host);
  } finally {
    await lock.release();
  }
}

/** A changed study goes on: runs are known by what they are, not by the file that asked for them. */
async function noteChange(study: Study, host: StudyHost): Promise<void> {
  const file = join(study.output, 'study.json');
  const text = `${JSON.stringify(study, null, 2)}\n`;
  const before = await readFile(file, 'utf8').catch(() => undefined);
  if (before !== undefined && canonical(JSON.parse(before)) !== canonical(JSON.parse(text)))
    host.emit(
      {
        type: 'notice',
        text: 'The study was changed since it last ran: runs that it still asks for are kept.',
      },
      emptyState(study),
    );
  await writeAtomic(file, text);
}

function emptyState(study: Study): StudyState {
  return { study, planned: [], runs: [], tuned: new Map(), curves: new Map(), total: 0 };
}

async function conduct(study: Study, planned: readonly Planned[], host: StudyHost): Promise<StudyState> {
  const store = await openStore(storeFile(study));
  const runs = new Map<string, StudyRun>();
  const curves = new Map<string, readonly Curve[]>();
  const tuned = new Map<string, Settings>();
  let shown = planned;
  let fitting = planned.filter((p) => p.row.fits);
  const trials = trialSettings(study);
  const perMethod = study.seeds.length * (trials.length > 0 ? 2 : 1);
  let trialRuns = fitting.length * rungs(study).reduce((n, r) => n + r.keep, 0);
  let base: Scored | undefined;
  const state = (): StudyState => ({
    study,
    planned: shown,
    runs: [...runs.values()],
    tuned,
    base,
    curves,
    total: fitting.length * perMethod + trialRuns,
  });
  const parts: StudyParts = {
    study,
    store,
    host,
    hasher: contentHasher(),
    judged: judging(study),
    base: () => base,
    record(run, reused) {
      runs.set(`${run.method}/${run.purpose}/${run.seed}/${run.key}`, run);
      host.emit({ type: 'run', run, reused }, state());
    },
    progress: (run, event) => host.emit({ type: 'progress', run, event }, state()),
    curves,
  };
  host.emit({ type: 'plan', planned }, state());
  base = await baseScores(parts, fitting[0]);
  const firstSeed = study.seeds[0];
  const settled = await settlePace(parts, fitting);
  shown = planned.map((p) => settled.find((q) => q.method.id === p.method.id) ?? p);
  const paced = settled.filter((p) => p.row.fits);
  fitting = paced;

  const jobs = paced.flatMap((plan) =>
    study.seeds.map((seed) => () => doRun(parts, plan, plan.settings, 'default', seed)),
  );
  await inPool(jobs, study.parallel, host.signal);
  if (trials.length > 0) {
    await inPool(
      paced.map((plan) => async () => {
        const chosen = await tune(parts, plan, trials, firstSeed);
        if (chosen) tuned.set(plan.method.id, chosen);
      }),
      study.parallel,
      host.signal,
    );
    trialRuns = [...runs.values()].filter((r) => r.purpose === 'trial').length;
    const more = paced.flatMap((plan) => {
      const settings = tuned.get(plan.method.id);
      return settings === undefined
        ? []
        : study.seeds.map((seed) => () => doRun(parts, plan, settings, 'tuned', seed));
    });
    await inPool(more, study.parallel, host.signal);
  }
  await store.saveStudy(study.name, [...runs.values()]);
  return state();
}
