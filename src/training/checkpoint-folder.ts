import { randomUUID } from 'node:crypto';
import { readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { RankineError } from '../errors.ts';
import { isTemporary, writeAtomic } from '../formats/atomic.ts';
import { readManifest, verifyHashes } from './manifest.ts';

const BEST = 'best.json';

export async function markBest(folder: string, step: number): Promise<void> {
  await writeAtomic(join(folder, BEST), `${JSON.stringify({ step })}\n`);
}

/** Keeps the last `keepLast` whole ones and the best; damaged ones go. */
export async function prune(folder: string, keepLast: number): Promise<void> {
  const kept = new Set((await wholeSteps(folder)).slice(-keepLast));
  const best = await bestStep(folder);
  for (const step of await stepsIn(folder)) if (!kept.has(step) && step !== best) await remove(folder, step);
}

/** First out of sight, then away: a kill in between must not leave half a checkpoint under its name. */
export async function remove(folder: string, step: number): Promise<void> {
  const doomed = join(folder, `.tmp-removed-${step}-${randomUUID()}`);
  await rename(pathOf(folder, step), doomed);
  await rm(doomed, { recursive: true, force: true });
}

/**
 * Clears what a killed process left. When step N was being replaced, its only whole copy may stand under a temporary
 * name: it gets its name back.
 */
export async function recover(folder: string): Promise<void> {
  const present = new Set(await stepsIn(folder));
  for (const name of (await readdir(folder)).filter(isTemporary)) {
    const step = /^\.tmp-step-(\d+)-/.exec(name)?.[1];
    const path = join(folder, name);
    if (step === undefined || present.has(Number(step)) || !(await isWhole(path)))
      await rm(path, { recursive: true, force: true });
    else {
      await rename(path, pathOf(folder, Number(step)));
      present.add(Number(step));
    }
  }
}

async function isWhole(path: string): Promise<boolean> {
  try {
    await verifyHashes(path, await readManifest(path));
    return true;
  } catch (error) {
    if (error instanceof RankineError) return false;
    throw error;
  }
}

export function pathOf(folder: string, step: number): string {
  return join(folder, `step-${step}`);
}

export async function stepsIn(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names.flatMap((name) => /^step-(\d+)$/.exec(name)?.slice(1).map(Number) ?? []).sort((a, b) => a - b);
}

export async function wholeSteps(folder: string): Promise<number[]> {
  const whole: number[] = [];
  for (const step of await stepsIn(folder))
    if (
      await readManifest(pathOf(folder, step)).then(
        () => true,
        () => false,
      )
    )
      whole.push(step);
  return whole;
}

export async function bestStep(folder: string): Promise<number | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, BEST), 'utf8')).step;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
