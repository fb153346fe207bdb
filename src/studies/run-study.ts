import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RankineError } from '../errors.ts';
import { exists, writeAtomic } from '../formats/index.ts';
import {
  collectVersions,
  type Recipe,
  readMetrics,
  runPaths,
  type TrainEvent,
  type TrainResult,
  takeLock,
} from '../training/index.ts';
import { type Planned, planStudy } from './budget.ts';
import { canonical, contentHasher, hashText, runKey } from './key.ts';
import { runRecipe, type Settings, studyMethods } from './methods.ts';
import { runProcess } from './process.ts';
import type { Curve, RunPurpose, StudyRun } from './results.ts';
import type { Scored, ScoreTask } from './score.ts';
import { openSpent, type Spent } from './spent.ts';
import { openStore, type Store, type StoredRun } from './store.ts';
import type { Study } from './study.ts';
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
  const store = await openStore(study.store ?? join(dirname(study.output), 'runs.duckdb'));
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
  const parts: Parts = {
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

interface Parts {
  readonly study: Study;
  readonly store: Store;
  readonly host: StudyHost;
  readonly hasher: ReturnType<typeof contentHasher>;
  readonly judged: ScoreTask;
  /** Scores of the untrained base, where it has some. */
  base(): Scored | undefined;
  record(run: StudyRun, reused?: boolean): void;
  progress(run: StudyRun, event: TrainEvent): void;
  readonly curves: Map<string, readonly Curve[]>;
}

/** What a study judges its runs by. */
export function judging({ metric, metrics, test, general }: Study): ScoreTask {
  return { test, metrics: [...new Set([metric, ...metrics])], general };
}

/** Runs jobs in order, so many at a time; none is begun once the study is asked to stop. */
async function inPool(
  jobs: readonly (() => Promise<unknown>)[],
  size: number,
  signal: AbortSignal,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < jobs.length && !signal.aborted) await jobs[next++]();
  };
  await Promise.all(Array.from({ length: size }, worker));
}

/** Scores of the untrained base: undefined for models that start at random. */
async function baseScores({ study, store, hasher, judged, host }: Parts, first: Planned) {
  const recipe = runRecipe(study, first.method, first.settings, {
    seed: study.seeds[0],
    output: study.output,
  });
  // A head that is drawn afresh knows nothing before training.
  if (recipe.model.init === 'random' || recipe.model.labels !== undefined || host.signal.aborted)
    return undefined;
  // How rows are read changes what they score, not which rows are trained on.
  const { train: _train, validation: _validation, holdOut: _holdOut, ...reading } = recipe.data;
  const key = hashText(canonical(['base', await hasher.model(recipe.model), recipe.model, reading]));
  const judgedBy = await judgedHash(judged, hasher);
  const known = await store.scores(key, judgedBy);
  if (known) return known;
  const outcome = await runProcess<Scored>({ kind: 'score-base', recipe, task: judged });
  if (outcome.kind !== 'done')
    throw new RankineError('studies/base', `The base model cannot be scored: ${outcome.reason}`);
  await store.saveScores(key, judgedBy, outcome.value);
  return outcome.value;
}

async function judgedHash(judged: ScoreTask, hasher: Parts['hasher']): Promise<string> {
  return hashText(canonical([judged, await hasher.data(judged.test, judged.general)]));
}

/** Under a budget of time, updates so many as a first run of a few takes; measured once and kept with the study. */
async function settlePace(parts: Parts, fitting: readonly Planned[]): Promise<readonly Planned[]> {
  const { study, host } = parts;
  const seconds = study.budget?.time;
  if (seconds === undefined) return fitting;
  const file = join(study.output, 'pace.json');
  const pace: Record<string, Pace> = JSON.parse(await readFile(file, 'utf8').catch(() => '{}'));
  const paced: Planned[] = [];
  for (const plan of fitting) {
    const id = plan.method.id;
    if (pace[id] === undefined && !host.signal.aborted) {
      const measured = await measurePace(parts, plan);
      if (measured === undefined) continue;
      pace[id] = measured;
      await writeAtomic(file, `${JSON.stringify(pace, null, 2)}\n`);
    }
    const found = pace[id];
    if (found === undefined) continue;
    if ('reason' in found) {
      paced.push({ ...plan, row: { ...plan.row, fits: false, reason: found.reason } });
      continue;
    }
    const steps = Math.max(1, Math.floor(seconds / found.seconds));
    const settings = { ...plan.settings, steps };
    paced.push({ ...plan, settings, row: { ...plan.row, chosen: settings, steps } });
  }
  return paced;
}

/** Seconds of an update, or why there are none. */
type Pace = { readonly seconds: number } | { readonly reason: string };

const PACE_STEPS = 12;

/** The median of the later ones of a short run. */
async function measurePace({ study, host }: Parts, plan: Planned): Promise<Pace | undefined> {
  const output = join(study.output, 'runs', `pace-${plan.method.id}`);
  await rm(output, { recursive: true, force: true });
  const settings = { ...plan.settings, steps: PACE_STEPS, evaluateEvery: PACE_STEPS, logEvery: 1 };
  const recipe = runRecipe(study, plan.method, settings, { seed: study.seeds[0], output });
  const times: number[] = [];
  const outcome = await runProcess<TrainResult>(
    { kind: 'train', recipe },
    {
      signal: host.signal,
      onEvent: (e) => (e as TrainEvent).type === 'step' && times.push(performance.now()),
    },
  );
  await rm(output, { recursive: true, force: true });
  if (outcome.kind !== 'done') return { reason: `Its pace cannot be measured: ${outcome.reason}` };
  if (!outcome.value.finished) return undefined;
  const gaps = times
    .slice(3)
    .map((t, i) => t - times[i + 2])
    .sort((a, b) => a - b);
  return { seconds: gaps[Math.floor(gaps.length / 2)] / 1000 };
}

/** The trial with the best validation value; the default settings compete too. */
async function tune(
  parts: Parts,
  plan: Planned,
  trials: readonly Settings[],
  seed: number,
): Promise<Settings | undefined> {
  let field = trials.map((t) => ({ ...plan.settings, ...t }) as Settings);
  let best: { settings: Settings; value: number }[] = [];
  for (const { keep, share } of rungs(parts.study)) {
    const results: typeof best = [];
    for (const settings of field.slice(0, keep)) {
      if (parts.host.signal.aborted) return undefined;
      const steps = stepsOf(parts.study, plan, settings);
      const short =
        share < 1 && steps !== undefined
          ? { ...settings, steps: Math.max(1, Math.round(steps * share)) }
          : settings;
      const run = await doRun(parts, plan, short, 'trial', seed);
      if (run.validation !== undefined) results.push({ settings, value: run.validation });
    }
    best = results.sort((a, b) => better(a.value, b.value, parts.study));
    field = best.map((b) => b.settings);
  }
  const standard = await doRun(parts, plan, plan.settings, 'default', seed);
  if (standard.validation !== undefined)
    best = [...best, { settings: plan.settings, value: standard.validation }].sort((a, b) =>
      better(a.value, b.value, parts.study),
    );
  return best[0]?.settings;
}

function stepsOf(study: Study, plan: Planned, settings: Settings): number | undefined {
  return runRecipe(study, plan.method, settings, { seed: study.seeds[0], output: study.output }).steps;
}

/** Validation is by accuracy where there are classes, else by loss: the run's own choice of its best checkpoint. */
function better(a: number, b: number, { metric }: Study): number {
  return metric === 'accuracy' ? b - a : a - b;
}

/** One run: from the store, or trained and scored. Ends that are not good are results too. */
async function doRun(
  parts: Parts,
  plan: Planned,
  settings: Settings,
  purpose: RunPurpose,
  seed: number,
): Promise<StudyRun> {
  const { study, store, hasher, host } = parts;
  const asked = runRecipe(study, plan.method, settings, { seed, output: '' });
  const [modelHash, dataHash] = [
    await hasher.model(asked.model),
    await hasher.data(asked.data.train, asked.data.validation),
  ];
  const key = runKey(asked, modelHash, dataHash);
  const folder = join(study.output, 'runs', key.slice(0, 16));
  const recipe: Recipe = { ...asked, output: folder };
  const versions = collectVersions();
  const start: StudyRun = {
    ...{ key, method: plan.method.id, purpose, seed, recipe, folder, modelHash, dataHash },
    state: 'running',
    predictedMemory: plan.row.predictedMemory,
    hardware: {
      processor: cpus()[0]?.model ?? 'unknown',
      cores: availableParallelism(),
      threads: recipe.threads ?? availableParallelism(),
    },
    versions: { rankine: versions.rankine, node: versions.node, ...versions.packages },
  };
  const failure = await readFailure(folder, key);
  if (failure) {
    const run = { ...start, ...failure };
    parts.record(run, true);
    return run;
  }
  const stored = await store.run(key);
  const known = stored && (await isUsable(parts, stored, purpose)) ? stored : undefined;
  const trained = known ?? (await trainOne(parts, start));
  if ('state' in trained) {
    parts.record(trained);
    return trained;
  }
  parts.curves.set(key, trained.curves);
  const done: StudyRun = { ...start, ...shared(trained), state: 'done' };
  const run = purpose === 'trial' || host.signal.aborted ? done : await scoreOne(parts, done);
  parts.record(run, known !== undefined);
  return run;
}

/** A run whose folder was removed is trained again where it has still to be scored. */
async function isUsable({ store, judged, hasher }: Parts, run: StoredRun, purpose: RunPurpose) {
  if (purpose === 'trial' || (await exists(runPaths(run.folder).checkpoints))) return true;
  return (await store.scores(run.key, await judgedHash(judged, hasher))) !== undefined;
}

function shared({ folder, trainable, size, measured, validation, recipe }: StoredRun) {
  return { folder, trainable, size, measured, validation, recipe };
}

/** Trains a run in its own process, waiting for one of a study that was killed to let go of its folder. */
async function trainOne(parts: Parts, run: StudyRun): Promise<StoredRun | StudyRun> {
  const { store } = parts;
  parts.record(run);
  await mkdir(run.folder, { recursive: true });
  const spent = await openSpent(run.folder);
  let outcome = await attempt(parts, run, spent);
  for (
    let waited = 0;
    outcome.kind === 'failed' && outcome.code === 'training/folder-locked' && waited < 60;
    waited++
  ) {
    await sleep(500);
    outcome = await attempt(parts, run, spent);
  }
  if (outcome.kind !== 'done') return failed(run, outcome);
  const { value } = outcome;
  const measured = await spent.close(outcome.measured);
  if (!value.finished) return { ...run, state: 'stopped', reason: 'The study was stopped.' };
  const stored: StoredRun = {
    ...{ key: run.key, seed: run.seed, recipe: run.recipe, folder: run.folder },
    ...{ hardware: run.hardware, versions: run.versions, modelHash: run.modelHash!, dataHash: run.dataHash! },
    trainable: value.trainable,
    size: await folderSize(value.artifact!),
    measured,
    validation: value.evaluation?.accuracy ?? value.evaluation?.loss,
    curves: await readCurves(run.folder),
  };
  await store.saveRun(stored);
  return stored;
}

function attempt({ study, host, progress }: Parts, run: StudyRun, spent: Spent) {
  return runProcess<TrainResult>(
    { kind: 'train', recipe: run.recipe },
    {
      memoryCap: study.memoryCap,
      onMeasured: spent.note,
      signal: host.signal,
      onEvent: (event) => progress(run, event as TrainEvent),
    },
  );
}

type Failure = Pick<StudyRun, 'state' | 'reason'>;

/** Remembers how a run failed, so that going on with the study does not repeat it. */
async function failed(
  run: StudyRun,
  outcome: { kind: 'failed'; code: string; reason: string } | { kind: 'out-of-memory'; reason: string },
): Promise<StudyRun> {
  const failure: Failure =
    outcome.kind === 'out-of-memory'
      ? { state: 'out-of-memory', reason: outcome.reason }
      : {
          state: outcome.code === 'training/not-finite' ? 'diverged' : 'failed',
          reason: `${outcome.reason} [${outcome.code}]`,
        };
  // An unexpected end is tried again the next time; one that would come again is not.
  if (failure.state !== 'failed' || !outcome.reason.includes('process ended'))
    await writeAtomic(
      join(run.folder, 'failure.json'),
      `${JSON.stringify({ key: run.key, ...failure }, null, 2)}\n`,
    );
  return { ...run, ...failure };
}

async function readFailure(folder: string, key: string): Promise<Failure | undefined> {
  const file = join(folder, 'failure.json');
  if (!(await exists(file))) return undefined;
  const { key: own, state, reason } = JSON.parse(await readFile(file, 'utf8'));
  return own === key ? { state, reason } : undefined;
}

/** Scores of a trained run; where scoring itself fails, that is the run's end. */
async function scoreOne({ store, judged, hasher, base }: Parts, run: StudyRun): Promise<StudyRun> {
  const judgedBy = await judgedHash(judged, hasher);
  const known = await store.scores(run.key, judgedBy);
  const scored = known ?? (await scoreInProcess(run, judged));
  if ('kind' in scored) return { ...run, state: 'failed', reason: scored.reason };
  if (!known) await store.saveScores(run.key, judgedBy, scored);
  const { scores, weightsHash, general } = scored;
  const before = base()?.general;
  const forgetting = general === undefined || before === undefined ? undefined : { before, after: general };
  return { ...run, scores, weightsHash, forgetting };
}

async function scoreInProcess(run: StudyRun, task: ScoreTask) {
  const outcome = await runProcess<Scored>({ kind: 'score', recipe: run.recipe, task });
  return outcome.kind === 'done' ? outcome.value : outcome;
}

async function folderSize(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true });
  const sizes = await Promise.all(names.map(async (name) => stat(join(folder, name))));
  return sizes.reduce((n, s) => n + (s.isFile() ? s.size : 0), 0);
}

/** Learning curves and whatever the form reported (live ranks), from the run's metrics. */
async function readCurves(folder: string): Promise<Curve[]> {
  const curves = new Map<string, { steps: number[]; values: number[] }>();
  for (const { step, name, value } of await readMetrics(runPaths(folder).metrics)) {
    if (name.startsWith('pace/') || name.startsWith('memory/')) continue;
    if (!curves.has(name)) curves.set(name, { steps: [], values: [] });
    curves.get(name)!.steps.push(step);
    curves.get(name)!.values.push(value);
  }
  return [...curves].map(([name, curve]) => ({ name, ...curve }));
}
