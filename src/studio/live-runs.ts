import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Curve } from '../studies/index.ts';
import { lockHolder, type Recipe, readMetrics, runPaths } from '../training/index.ts';
import { changeOf, readJson } from './find-studies.ts';

/** A run of a study as its folder tells: trials too, which results leave out. */
export interface LiveRun {
  readonly name: string;
  readonly method: string;
  readonly seed: number;
  readonly rate: number;
  /** Updates of the whole run, where the recipe says so. */
  readonly total?: number;
  readonly state: 'running' | 'done' | 'failed' | 'stopped';
  readonly reason?: string;
  readonly curves: readonly Curve[];
  readonly changed: number;
}

/** Runs of a study in its folder, newest first; curves only of those that run. */
export async function liveRuns(folder: string): Promise<LiveRun[]> {
  const names = await readdir(join(folder, 'runs')).catch(() => []);
  const runs = await Promise.all(names.map((name) => describeRun(join(folder, 'runs', name), name)));
  return runs.filter((r) => r !== undefined).sort((a, b) => b.changed - a.changed);
}

async function describeRun(folder: string, name: string): Promise<LiveRun | undefined> {
  const paths = runPaths(folder);
  const [recipe, failure] = await Promise.all([
    readJson<Recipe>(paths.recipe),
    readJson<{ state: string; reason: string }>(join(folder, 'failure.json')),
  ]);
  if (!recipe) return undefined;
  const isRunning = (await lockHolder(join(folder, 'run.lock'))) !== undefined;
  const isDone = (await changeOf(paths.adapter)) > 0 || (await changeOf(join(folder, 'model'))) > 0;
  return {
    name,
    method: methodOf(recipe),
    ...{ seed: recipe.seed, rate: recipe.rate, total: recipe.steps },
    state: isRunning ? 'running' : failure ? 'failed' : isDone ? 'done' : 'stopped',
    reason: failure?.reason,
    curves: isRunning ? await curvesOf(paths.metrics) : [],
    changed: Math.max(await changeOf(paths.metrics), await changeOf(paths.recipe)),
  };
}

/** What sets the run apart: its weight form, or its optimizer where that is what is compared. */
function methodOf({ adapter, optimizer }: Recipe): string {
  const parts = [adapter.method, ...(optimizer.method === 'adamw' ? [] : [optimizer.method])];
  return parts.length > 1 && parts[0] === 'full' ? parts[1] : parts.join(' + ');
}

async function curvesOf(file: string): Promise<Curve[]> {
  const records = await readMetrics(file).catch(() => []);
  return ['train/loss', 'eval/loss'].flatMap((name) => {
    const own = records.filter((r) => r.name === name && Number.isFinite(r.value));
    const curve = { name, steps: own.map((r) => r.step), values: own.map((r) => r.value) };
    return own.length > 0 ? [curve] : [];
  });
}
