import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { exists, writeAtomic } from '../formats/index.ts';
import { type Recipe, readMetrics, runPaths, type TrainEvent, type TrainResult } from '../training/index.ts';
import type { Planned } from './budget.ts';
import { judgedHash, scoreOne } from './judge.ts';
import { currentVersions, runKey } from './key.ts';
import { runRecipe, type Settings } from './methods.ts';
import { onceUnlocked, runProcess } from './process.ts';
import type { Curve, RunPurpose, StudyRun } from './results.ts';
import { openSpent, type Spent } from './spent.ts';
import type { StoredRun } from './store.ts';
import type { StudyParts } from './study-parts.ts';

/** One run: from the store, or trained and scored. Ends that are not good are results too. */
export async function doRun(
  parts: StudyParts,
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
  const start: StudyRun = {
    ...{ key, method: plan.method.id, purpose, seed, recipe, folder, modelHash, dataHash },
    state: 'running',
    predictedMemory: plan.row.predictedMemory,
    hardware: {
      processor: cpus()[0]?.model ?? 'unknown',
      cores: availableParallelism(),
      threads: recipe.threads ?? availableParallelism(),
    },
    versions: currentVersions(),
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
async function isUsable({ store, judged, hasher }: StudyParts, run: StoredRun, purpose: RunPurpose) {
  if (purpose === 'trial' || (await exists(runPaths(run.folder).checkpoints))) return true;
  return (await store.scores(run.key, await judgedHash(judged, hasher))) !== undefined;
}

function shared({ folder, trainable, size, measured, validation, recipe }: StoredRun) {
  return { folder, trainable, size, measured, validation, recipe };
}

/** Trains a run in its own process. */
async function trainOne(parts: StudyParts, run: StudyRun): Promise<StoredRun | StudyRun> {
  const { store } = parts;
  parts.record(run);
  await mkdir(run.folder, { recursive: true });
  const spent = await openSpent(run.folder);
  const outcome = await onceUnlocked(() => attempt(parts, run, spent));
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

function attempt({ study, host, progress }: StudyParts, run: StudyRun, spent: Spent) {
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
