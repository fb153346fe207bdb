import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RankineError } from '../errors.ts';
import { publishFolder, writeAtomic } from '../formats/atomic.ts';
import { type LazyTensor, safetensorsChunks, writtenBytes } from '../formats/safetensors-write.ts';
import type { TensorFile } from '../formats/tensor-file.ts';
import type { NDArray } from '../graph/array.ts';
import {
  bestStep,
  markBest,
  pathOf,
  prune,
  recover,
  remove,
  stepsIn,
  wholeSteps,
} from './checkpoint-folder.ts';
import { fromJson, toJson } from './json.ts';
import {
  broken,
  digesting,
  type FileDigest,
  groupFile,
  MANIFEST,
  type Manifest,
  openGroup,
  readManifest,
  verifyHashes,
} from './manifest.ts';

const STATE = 'state.json';

/** What the trainer hands over after an update. */
export interface CheckpointContent {
  /** Updates done. */
  readonly step: number;
  /** JSON data: data position, random state, best metric, early stopping. All numbers survive, NaN too. */
  readonly state: unknown;
  /** Named sets of tensors, one safetensors file each: `weights`, `optimizer`. Read one tensor at a time. */
  readonly tensors: Readonly<Record<string, Iterable<LazyTensor>>>;
}

/** A checkpoint whose every byte was verified. */
export interface Checkpoint {
  readonly step: number;
  readonly path: string;
  readonly state: unknown;
  /** Opens one set of tensors for reading tensor by tensor; the caller closes it. */
  open(group: string): Promise<TensorFile>;
  /** Reads a whole set. */
  readAll(group: string): Promise<Record<string, NDArray>>;
}

export interface CheckpointOptions {
  /** How many of the latest to keep, besides the best. Default 2: one that can be damaged and one behind it. */
  readonly keepLast?: number;
  /** Told of each damaged checkpoint that is passed over. */
  readonly onWarning?: (error: RankineError) => void;
}

export interface CheckpointStore {
  /** Steps of all checkpoints that look whole (lengths compared), ascending. */
  list(): Promise<number[]>;
  /**
   * Writes a checkpoint so that it is there whole or not at all, then removes those that are not to be kept.
   * @throws RankineError `training/disk-full`: earlier checkpoints are untouched
   */
  save(content: CheckpointContent, options?: { best?: boolean }): Promise<void>;
  /** @throws RankineError `training/broken-checkpoint` */
  load(step: number): Promise<Checkpoint>;
  /** The latest that is undamaged; each damaged one is reported to `onWarning` and passed over. */
  loadLatest(): Promise<Checkpoint | undefined>;
  /** The one last saved as the best, if it is still there. */
  loadBest(): Promise<Checkpoint | undefined>;
  /** Removes what lies after `step`: a run that resumes there takes another path. */
  discardAfter(step: number): Promise<void>;
}

/**
 * Opens the checkpoints in `folder` for the run that holds its lock: makes the folder if absent and clears away what a
 * killed process left half done.
 *
 * @throws RankineError `training/bad-keep`
 */
export async function openCheckpoints(
  folder: string,
  options: CheckpointOptions = {},
): Promise<CheckpointStore> {
  const { keepLast = 2, onWarning } = options;
  if (!Number.isInteger(keepLast) || keepLast < 1)
    throw new RankineError(
      'training/bad-keep',
      `Checkpoints to keep is ${keepLast}, but must be a whole number of at least 1.`,
    );
  await mkdir(folder, { recursive: true });
  await recover(folder);
  return {
    ...checkpointReader(folder, onWarning),
    async save(content, { best = false } = {}) {
      await write(folder, content);
      if (best) await markBest(folder, content.step);
      await prune(folder, keepLast);
    },
    async discardAfter(step) {
      for (const later of await stepsIn(folder)) if (later > step) await remove(folder, later);
    },
  };
}

/** The reading half, for a folder that another process may be writing to; changes nothing. */
export function checkpointReader(
  folder: string,
  onWarning: (error: RankineError) => void = () => {},
): Pick<CheckpointStore, 'list' | 'load' | 'loadLatest' | 'loadBest'> {
  return {
    list: () => wholeSteps(folder),
    load: (step) => load(folder, step),
    async loadLatest() {
      for (const step of (await stepsIn(folder)).reverse()) {
        const found = await loadOrWarn(folder, step, onWarning);
        if (found) return found;
      }
      return undefined;
    },
    async loadBest() {
      const step = await bestStep(folder);
      return step === undefined ? undefined : loadOrWarn(folder, step, onWarning);
    },
  };
}

async function write(folder: string, { step, state, tensors }: CheckpointContent): Promise<void> {
  const lists = Object.entries(tensors).map(([group, list]) => [group, [...list]] as const);
  try {
    await publishFolder(pathOf(folder, step), (temporary) => fill(temporary, step, state, lists), {
      replace: true,
    });
  } catch (error) {
    if (!(error instanceof RankineError) || error.code !== 'formats/disk-full') throw error;
    const bytes = lists
      .flatMap(([, list]) => list.map((tensor) => writtenBytes(tensor)))
      .reduce((a, b) => a + b, 0);
    throw new RankineError(
      'training/disk-full',
      `The disk is full: the checkpoint of step ${step} in ${folder} needs ${bytes} bytes. Earlier checkpoints are untouched.`,
      'Free that space and resume; fewer checkpoints are kept with a smaller keepLast.',
      { cause: error },
    );
  }
}

type TensorLists = readonly (readonly [group: string, list: readonly LazyTensor[]])[];

async function fill(folder: string, step: number, state: unknown, lists: TensorLists): Promise<void> {
  const files: Record<string, FileDigest> = {};
  const add = (name: string, content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) =>
    writeAtomic(
      join(folder, name),
      digesting(content, (digest) => {
        files[name] = digest;
      }),
    );
  for (const [group, list] of lists) await add(groupFile(group), safetensorsChunks(list));
  await add(STATE, [Buffer.from(`${toJson(state, 1)}\n`)]);
  const manifest: Manifest = { format: 1, step, files };
  await writeAtomic(join(folder, MANIFEST), `${JSON.stringify(manifest, null, 1)}\n`);
}

async function load(folder: string, step: number): Promise<Checkpoint> {
  const path = pathOf(folder, step);
  const manifest = await readManifest(path);
  if (manifest.step !== step) throw broken(path, `it was written as that of step ${manifest.step}`);
  await verifyHashes(path, manifest);
  const state = fromJson(await readFile(join(path, STATE), 'utf8'));
  const open = (group: string) => openGroup(path, manifest, group);
  return {
    step,
    path,
    state,
    open,
    async readAll(group) {
      const file = await open(group);
      try {
        const arrays: Record<string, NDArray> = {};
        for (const name of file.tensors.keys()) arrays[name] = await file.read(name);
        return arrays;
      } finally {
        await file.close();
      }
    },
  };
}

async function loadOrWarn(folder: string, step: number, warn: (error: RankineError) => void) {
  try {
    return await load(folder, step);
  } catch (error) {
    if (!(error instanceof RankineError) || error.code !== 'training/broken-checkpoint') throw error;
    warn(error);
    return undefined;
  }
}
