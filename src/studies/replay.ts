import { readFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { RankineError } from '../errors.ts';
import { exists } from '../formats/index.ts';
import { type Recipe, readRecipe, runPaths, type TrainResult } from '../training/index.ts';
import { judging } from './judge.ts';
import { type ContentHasher, contentHasher, currentVersions } from './key.ts';
import { type Outcome, onceUnlocked, runProcess } from './process.ts';
import type { StudyRun } from './results.ts';
import { findRow, RESULT_FILE, readResult, rowFolder } from './rows.ts';
import type { Scored, ScoreTask } from './score.ts';

/** A run that is to be repeated. */
export interface Row {
  readonly folder: string;
  readonly recipe: Recipe;
  /** What the study says of it; absent for a run of no study. */
  readonly run?: StudyRun;
  readonly task: ScoreTask;
}

/** What came out of a repetition, beside what came out the first time. */
export interface Replay {
  /** True where trained arrays and all scores are the same bytes. */
  readonly same: boolean;
  readonly weights: { readonly before: string; readonly now: string };
  readonly scores: readonly { readonly metric: string; readonly before?: number; readonly now: number }[];
  /** Of the first example that differs, counted from 0, by metric. */
  readonly firstDifference: Readonly<Record<string, number>>;
  /** What is not as it was: versions, processor, threads. */
  readonly changed: readonly string[];
  readonly folder: string;
}

/**
 * Finds what to repeat: a row of a study's folder, or the run in a run folder, of a study or of none.
 *
 * @throws RankineError `studies/which-row`, `studies/no-row`, `studies/no-result`, `training/nothing-to-resume`
 */
export async function openRow(path: string, row?: string): Promise<Row> {
  if (await exists(join(path, RESULT_FILE))) {
    const result = await readResult(path);
    if (row === undefined)
      throw new RankineError(
        'studies/which-row',
        `${path} is a study of ${result.methods.length} methods.`,
        'Say which run to repeat: --row METHOD/SEED.',
      );
    const run = findRow(result, row);
    return openStudyRow(path, run);
  }
  const study = dirname(dirname(resolve(path)));
  if (await exists(join(study, RESULT_FILE))) {
    const runs = (await readResult(study)).methods.flatMap((m) => m.runs);
    const run = runs.find((r) => r.state === 'done' && resolve(path).endsWith(r.key.slice(0, 16)));
    if (run) return openStudyRow(study, run);
  }
  const recipe = (await readRecipe(runPaths(path))) as Recipe;
  return { folder: path, recipe, task: { metrics: [] } };
}

/** A run of a study as its repetition needs it: judged as the study judged it. */
export async function openStudyRow(studyFolder: string, run: StudyRun): Promise<Row> {
  const folder = await rowFolder(studyFolder, run);
  const study = JSON.parse(await readFile(join(studyFolder, 'study.json'), 'utf8'));
  const recorded = await exists(runPaths(folder).recipe);
  const recipe = recorded ? ((await readRecipe(runPaths(folder))) as Recipe) : run.recipe;
  return { folder, run, task: judging(study), recipe };
}

export interface ReplayOptions {
  /** Folder of the repetition: absent, empty, or of one that was cut off. */
  readonly output: string;
  readonly onEvent?: (event: unknown) => void;
  readonly signal?: AbortSignal;
  /** Shared by repetitions: each file is then hashed once. */
  readonly hasher?: ContentHasher;
}

/**
 * Runs a row once more, in a folder and processes of its own, and compares. A repetition that was cut off goes on in its
 * folder.
 *
 * @returns undefined where it was stopped
 * @throws RankineError `studies/other-data` where model or data are not what they were; `studies/replay-failed`
 */
export async function replay(
  row: Row,
  { output, onEvent, signal, hasher = contentHasher() }: ReplayOptions,
): Promise<Replay | undefined> {
  await refuseOtherData(row, hasher);
  const recipe: Recipe = { ...row.recipe, output };
  const train = () => runProcess<TrainResult>({ kind: 'train', recipe }, { onEvent, signal });
  const trained = settled(await onceUnlocked(train));
  if (!trained.finished) return undefined;
  const before = await firstScores(row);
  const now = settled(await runProcess<Scored>({ kind: 'score', recipe, task: row.task }));
  const firstDifference = differences(before, now);
  return {
    same: before.weightsHash === now.weightsHash && Object.keys(firstDifference).length === 0,
    weights: { before: before.weightsHash ?? '', now: now.weightsHash ?? '' },
    scores: now.scores.map(({ metric, mean }) => ({
      metric,
      before: scoreOf(before, metric)?.mean,
      now: mean,
    })),
    firstDifference,
    changed: row.run ? changes(row.run) : [],
    folder: output,
  };
}

/** What the study recorded; a run of no study is hashed where it lies. */
async function firstScores({
  run,
  folder,
  recipe,
  task,
}: Row): Promise<Pick<Scored, 'scores' | 'weightsHash'>> {
  if (run?.scores && run.weightsHash) return { scores: run.scores, weightsHash: run.weightsHash };
  return settled(await runProcess<Scored>({ kind: 'score', recipe: { ...recipe, output: folder }, task }));
}

function settled<T>(outcome: Outcome<T>): T {
  if (outcome.kind === 'done') return outcome.value;
  throw new RankineError('studies/replay-failed', `The repetition failed: ${outcome.reason}`);
}

function differences(before: Pick<Scored, 'scores'>, now: Scored): Record<string, number> {
  const found: Record<string, number> = {};
  for (const { metric, examples } of now.scores) {
    const at = examples.findIndex((x, e) => x !== scoreOf(before, metric)?.examples[e]);
    if (at >= 0) found[metric] = at;
  }
  return found;
}

function scoreOf({ scores }: Pick<Scored, 'scores'>, metric: string) {
  return scores.find((s) => s.metric === metric);
}

/** @throws RankineError `studies/other-data` */
export async function refuseOtherData({ run, recipe }: Row, hasher: ContentHasher): Promise<void> {
  if (!run) return;
  const changed = [
    ...((await hasher.model(recipe.model)) === run.modelHash ? [] : [`the model ${recipe.model.path}`]),
    ...((await hasher.data(recipe.data.train, recipe.data.validation)) === run.dataHash
      ? []
      : ['the training data']),
  ];
  if (changed.length === 0) return;
  throw new RankineError(
    'studies/other-data',
    `A replay needs what the run had, but ${changed.join(' and ')} changed since.`,
    'Restore the files; paths are relative to the current folder.',
  );
}

function changes({ versions, hardware }: StudyRun): string[] {
  const now = currentVersions();
  const names = [...new Set([...Object.keys(versions), ...Object.keys(now)])].sort();
  const different = names.filter((name) => versions[name] !== now[name]);
  const [processor, cores] = [cpus()[0]?.model ?? 'unknown', availableParallelism()];
  return [
    ...different.map((name) => `${name} ${versions[name] ?? 'absent'} → ${now[name] ?? 'absent'}`),
    ...(hardware.processor === processor ? [] : [`processor ${hardware.processor} → ${processor}`]),
    ...(hardware.cores === cores ? [] : [`cores ${hardware.cores} → ${cores}`]),
  ];
}
