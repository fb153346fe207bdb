import { type Position, START } from '../data/index.ts';
import { RankineError } from '../errors.ts';
import { lazyTensors } from '../formats/index.ts';
import type { NDArray } from '../graph/index.ts';
import type { Model } from '../models/model.ts';
import type { Adaptation } from './adaptation.ts';
import { factorName } from './adaptation.ts';
import type { Checkpoint, CheckpointStore } from './checkpoints.ts';
import { type EarlyStopState, NOT_EVALUATED } from './early-stop.ts';
import type { Evaluation } from './evaluation.ts';
import type { Trainable } from './trainables.ts';
import type { Updates } from './updates.ts';

/** Where a run stands; plain data, part of every checkpoint. */
export interface RunProgress {
  /** Updates done. */
  step: number;
  /** Batches done: numbers the draws of noise. */
  draws: number;
  position: Position;
  stopping: EarlyStopState;
  evaluation?: Evaluation;
  /** Layers whose frozen weight a form has changed since the start. */
  changedBase: string[];
  /** Updates done when the optimizer's state of a parameter was last zeroed: its own count of updates starts there. */
  resets: Record<string, number>;
}

export function freshProgress(): RunProgress {
  return { step: 0, draws: 0, position: START, stopping: NOT_EVALUATED, changedBase: [], resets: {} };
}

/** The arrays that a run changes. */
export interface Live {
  readonly trainables: readonly Trainable[];
  readonly updates: Updates;
  readonly adaptation?: Adaptation;
  readonly model: Model;
}

/** What of a run is put back: all of it, or, to look at a run that has ended, without optimizer state. */
export type Restorable = Omit<Live, 'updates'> & {
  readonly updates: Pick<Updates, 'state'> & Partial<Updates>;
};

/** Sets of tensors of a checkpoint, by group. The same names are live, so that loading writes in place. */
function groups(live: Restorable, changedBase: readonly string[]): Record<string, Record<string, NDArray>> {
  const frozen: Record<string, NDArray> = {};
  for (const layer of live.adaptation?.layers ?? [])
    for (const [name, array] of Object.entries(layer.frozen))
      frozen[factorName(layer.spec.name, name)] = array;
  return {
    weights: Object.fromEntries(live.trainables.map((t) => [t.info.name, t.array])),
    optimizer: Object.fromEntries(live.updates.state),
    frozen,
    form: live.adaptation?.steps?.state ?? {},
    base: Object.fromEntries(changedBase.map((name) => [name, live.model.weights.get(name)!])),
  };
}

export async function saveRun(
  store: CheckpointStore,
  live: Live,
  progress: RunProgress,
  best: boolean,
): Promise<void> {
  const tensors = Object.fromEntries(
    Object.entries(groups(live, progress.changedBase)).map(([group, arrays]) => [group, lazyTensors(arrays)]),
  );
  await store.save({ step: progress.step, state: progress, tensors }, { best });
}

/**
 * Puts a run's arrays back to its latest (or best) checkpoint.
 *
 * @throws RankineError `training/nothing-to-resume`, `training/other-run` where the checkpoint holds other tensors
 */
export async function restoreRun(
  store: Pick<CheckpointStore, 'loadBest' | 'loadLatest' | 'discardAfter'>,
  live: Restorable,
  which: 'latest' | 'best' = 'latest',
): Promise<RunProgress> {
  const best = which === 'best' ? await store.loadBest() : undefined;
  const checkpoint = best ?? (await store.loadLatest());
  if (!checkpoint)
    throw new RankineError(
      'training/nothing-to-resume',
      'The run stopped before its first checkpoint.',
      'Start it anew with overwrite.',
    );
  if (which === 'latest') await store.discardAfter(checkpoint.step);
  const progress = checkpoint.state as RunProgress;
  live.updates.settle?.(Math.max(1, progress.step));
  for (const [group, arrays] of Object.entries(groups(live, progress.changedBase)))
    await readInto(checkpoint, group, arrays);
  return progress;
}

async function readInto(
  checkpoint: Checkpoint,
  group: string,
  arrays: Record<string, NDArray>,
): Promise<void> {
  const file = await checkpoint.open(group);
  try {
    for (const [name, array] of Object.entries(arrays)) {
      const stored = file.tensors.get(name);
      if (!stored || stored.shape.join() !== array.shape.join())
        throw new RankineError(
          'training/other-run',
          `${checkpoint.path} has no tensor ${name} of shape [${array.shape}].`,
          'Resume with the recipe that the run was started with.',
        );
      (array.data as Float32Array).set((await file.read(name)).data as Float32Array);
    }
  } finally {
    await file.close();
  }
}
