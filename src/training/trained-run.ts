import { type AdapterOptions, forms } from '../adapters/index.ts';
import type { Engine } from '../engine/index.ts';
import type { Model } from '../models/index.ts';
import { type Adaptation, adapt } from './adaptation.ts';
import { checkpointReader } from './checkpoints.ts';
import { byName, FULL, type Recipe } from './recipe.ts';
import { openModel } from './run.ts';
import { runPaths } from './run-folder.ts';
import { restoreRun } from './run-state.ts';
import { openFeed } from './sources.ts';
import { estimateStatistics } from './statistics.ts';
import { type Trainable, trainables } from './trainables.ts';

/** A run's model as one of its checkpoints has it. */
export interface TrainedRun {
  readonly model: Model;
  /** Absent where every weight was trained. */
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
  const adaptation = recipe.adapter.method === FULL ? undefined : await adaptAsAtStart(engine, model, recipe);
  const list = trainables(model, adaptation);
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

/** The same start as the run had: what a checkpoint does not hold (PiSSA's residual) follows from the recipe. */
async function adaptAsAtStart(engine: Engine, model: Model, recipe: Recipe): Promise<Adaptation> {
  const form = byName(forms, recipe.adapter.method, 'adapter', [FULL]);
  const options = recipe.adapter.options as AdapterOptions;
  const statistics = form.needs?.length
    ? await estimateStatistics(engine, model, form, options, await openFeed(recipe, model), recipe)
    : undefined;
  return adapt(model, form, options, recipe.seed, statistics);
}
