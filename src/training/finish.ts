import { join } from 'node:path';
import { writeAdapter, writeMerged } from './artifacts.ts';
import type { CheckpointStore } from './checkpoints.ts';
import type { Evaluation } from './evaluation.ts';
import { type Prepared, prepare } from './prepare.ts';
import type { Recipe } from './recipe.ts';
import type { RunFolder } from './run-folder.ts';
import { type Live, type RunProgress, restoreRun } from './run-state.ts';

/** The best checkpoint (the last one without validation) becomes the result. */
export async function finish(
  folder: RunFolder,
  recipe: Recipe,
  store: CheckpointStore,
  parts: Prepared,
  progress: RunProgress,
): Promise<{ artifact: string; evaluation?: Evaluation }> {
  const { live, evaluation } = await bestState(recipe, store, parts.live, progress);
  const { model, adaptation, trainables } = live;
  if (adaptation?.form.toPeft) {
    await writeAdapter(folder.paths.adapter, model, adaptation, trainables, recipe.model.path);
    return { artifact: folder.paths.adapter, evaluation };
  }
  const merged = join(folder.path, 'model');
  await writeMerged(merged, parts.engine, model, adaptation, { replace: true });
  return { artifact: merged, evaluation };
}

async function bestState(
  recipe: Recipe,
  store: CheckpointStore,
  live: Live,
  progress: RunProgress,
): Promise<{ live: Live; evaluation?: Evaluation }> {
  const best = await restoreRun(store, live, 'best');
  const { evaluation } = best;
  if (progress.changedBase.every((name) => best.changedBase.includes(name))) return { live, evaluation };
  // Frozen weights that changed only after the best checkpoint are in none of its files: start from the model again.
  const fresh = await prepare(recipe, () => {});
  await restoreRun(store, fresh.live, 'best');
  await fresh.engine.dispose();
  return { live: fresh.live, evaluation };
}
