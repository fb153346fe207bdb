import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { RankineError } from '../errors.ts';
import { isTemporary, writeAtomic } from '../formats/atomic.ts';
import { fromJson, toJson } from './json.ts';
import { takeLock } from './lock.ts';

/** What a run leaves behind, by its names in the folder. */
const LAYOUT = {
  /** The recipe with every default filled in. */
  recipe: 'recipe.json',
  versions: 'versions.json',
  metrics: 'metrics.jsonl',
  /** TensorBoard event files. */
  tensorboard: 'tensorboard',
  /** `step-N/`, see checkpoints.ts. */
  checkpoints: 'checkpoints',
  /** The result: a PEFT adapter. */
  adapter: 'adapter',
} as const;

const LOCK = 'run.lock';

/** Paths of a run folder. */
export type RunPaths = { readonly [Part in keyof typeof LAYOUT]: string };

export interface RunFolder {
  readonly path: string;
  readonly paths: RunPaths;
  /** Lets other runs use the folder. */
  release(): Promise<void>;
}

/**
 * - `new`: the folder must be absent or empty.
 * - `resume`: a run must have started there.
 * - `overwrite`: what an earlier run left is removed; files that are no part of a run stay.
 */
export type RunFolderMode = 'new' | 'resume' | 'overwrite';

/** Paths of the run in `path`, for readers: nothing is locked or made. */
export function runPaths(path: string): RunPaths {
  const entries = Object.entries(LAYOUT).map(([part, name]) => [part, join(path, name)]);
  return Object.fromEntries(entries);
}

/**
 * Opens a folder for one run and locks it, so that no second run writes there.
 *
 * @throws RankineError `training/folder-locked`, `training/folder-not-empty`, `training/nothing-to-resume`
 */
export async function openRunFolder(path: string, mode: RunFolderMode): Promise<RunFolder> {
  await makeFolder(path, mode);
  const lock = await takeLock(join(path, LOCK));
  try {
    if (mode === 'new') await refuseContent(path);
    if (mode === 'overwrite') await removeRun(path);
    await mkdir(join(path, LAYOUT.tensorboard), { recursive: true });
    return { path, paths: runPaths(path), release: lock.release };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Records the resolved recipe. Written before the first update: its presence is what makes a folder resumable. */
export async function writeRecipe(paths: RunPaths, recipe: unknown): Promise<void> {
  await writeAtomic(paths.recipe, `${toJson(recipe, 2)}\n`);
}

/** @throws RankineError `training/nothing-to-resume`, `training/broken-recipe` */
export async function readRecipe(paths: RunPaths): Promise<unknown> {
  const text = await readFile(paths.recipe, 'utf8').catch((cause) => {
    throw noRun(paths.recipe, cause);
  });
  try {
    return fromJson(text);
  } catch (cause) {
    throw new RankineError(
      'training/broken-recipe',
      `${paths.recipe} is not JSON (${(cause as Error).message}).`,
      'Restore it, or start the run anew with overwrite.',
      { cause },
    );
  }
}

async function makeFolder(path: string, mode: RunFolderMode): Promise<void> {
  if (mode === 'resume' && !existsSync(join(path, LAYOUT.recipe))) throw noRun(join(path, LAYOUT.recipe));
  await mkdir(path, { recursive: true }).catch((cause) => {
    throw new RankineError(
      'training/cannot-open-folder',
      `Cannot make the run folder ${path}: ${cause.message}.`,
      'Choose a folder that you may write to.',
      { cause },
    );
  });
}

async function refuseContent(path: string): Promise<void> {
  const names = (await readdir(path)).filter((name) => !name.startsWith(LOCK) && !isTemporary(name));
  // A run that failed before it began (no such model, broken data) leaves nothing but this.
  const failed = names.length === 1 && names[0] === LAYOUT.tensorboard;
  const content = failed ? await readdir(join(path, LAYOUT.tensorboard)) : names;
  if (content.length > 0)
    throw new RankineError(
      'training/folder-not-empty',
      `The run folder ${path} is not empty (${content.slice(0, 3).join(', ')}${content.length > 3 ? ', …' : ''}).`,
      'Ask to resume the run or to overwrite it, or choose another folder.',
    );
}

async function removeRun(path: string): Promise<void> {
  for (const name of Object.values(LAYOUT)) await rm(join(path, name), { recursive: true, force: true });
}

function noRun(recipe: string, cause?: unknown): RankineError {
  return new RankineError(
    'training/nothing-to-resume',
    `There is no run to resume: ${recipe} is absent.`,
    'Check the folder, or start without resume.',
    { cause },
  );
}
