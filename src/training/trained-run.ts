import type { Engine } from '../engine/index.ts';
import type { Model } from '../models/index.ts';
import type { Adaptation } from './adaptation.ts';
import { openModel } from './base-model.ts';
import { checkpointReader } from './checkpoints.ts';
import { adaptAtStart } from './prepare.ts';
import { type Recipe, trainedModules } from './recipe.ts';
import { runPaths } from './run-folder.ts';
import { restoreRun } from './run-state.ts';
import { openFeed } from './sources.ts';
import { type Trainable, trainables } from './trainables.ts';

/** A run's model as one of its checkpoints has it. */
export interface TrainedRun {
  readonly model: Model;
  /** Absent where the weights themselves were trained. */
  readonly adaptation?: Adaptation;
  readonly trainables: readonly Trainable[];
  /** Updates done at the checkpoint. */
  readonly step: number;
}

/**
 * Puts a model into the state of a run's checkpoint: of update `step`, else the best one, else the latest. Nothing in
 * the folder changes; the run may still be going on.
 *
 * @param recipe as recorded in the folder
 * @throws RankineError `training/nothing-to-resume`, `training/broken-checkpoint`, `training/other-run`
 */
export async function openTrainedRun(
  engine: Engine,
  folder: string,
  recipe: Recipe,
  step?: number,
): Promise<TrainedRun> {
  const model = await openModel(recipe.model, recipe.seed);
  // The same start as the run had: what a checkpoint does not hold (PiSSA's residual) follows from the recipe.
  const adaptation = await adaptAtStart(engine, model, recipe, () => openFeed(recipe, model));
  const list = trainables(model, adaptation, trainedModules(recipe));
  const reader = checkpointReader(runPaths(folder).checkpoints);
  const store = {
    ...reader,
    ...(step === undefined ? {} : { loadBest: () => reader.load(step) }),
    discardAfter: async () => {},
  };
  const live = { model, adaptation, trainables: list, updates: { state: new Map() } };
  const progress = await restoreRun(store, live, 'best');
  return { model, adaptation, trainables: list, step: progress.step };
}
