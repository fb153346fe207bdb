import type { AdapterOptions, LayerStatistics, WeightForm } from '../adapters/index.ts';
import { selectLayers } from '../adapters/index.ts';
import { START } from '../data/index.ts';
import type { Engine } from '../engine/index.ts';
import { type NDArray, zeros } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { Model } from '../models/model.ts';
import { transposed } from './adaptation.ts';
import { batchFeeds, targetCount } from './batch-feeds.ts';
import { blockwiseExecution } from './blockwise.ts';
import { addGradient } from './gradient-norm.ts';
import type { Recipe } from './recipe.ts';
import type { Feed } from './sources.ts';
import type { Trainable } from './trainables.ts';

export interface EstimateParts {
  readonly engine: Engine;
  readonly model: Model;
  readonly form: WeightForm;
  readonly options: AdapterOptions;
  readonly feed: Feed;
  readonly recipe: Recipe;
}

/**
 * Sums the gradients of a form's layers over a run's first batches, before the form is initialized. They come from
 * blockwise passes over the un-adapted model: layer by layer, so that one layer's gradient is alive beside the sums.
 */
export async function estimateStatistics(
  { engine, model, form, options, feed, recipe }: EstimateParts,
  batches: number,
): Promise<(layer: LayerSpec) => LayerStatistics> {
  const layers = selectLayers(model.architecture, options.targets, options.exclude, form.kinds);
  const sums = new Map<string, NDArray>();
  const trainables = layers.map((layer): Trainable => {
    const name = `${layer.name}.weight`;
    const array = model.weights.get(name)!;
    sums.set(name, zeros(array.shape));
    return { info: { name, shape: array.shape, role: 'matrix', layer }, array };
  });
  const execution = blockwiseExecution(
    { engine, model, trainables, seed: recipe.seed },
    { shareGradients: true },
  );
  let draw = 0;
  for await (const batch of feed.train(START)) {
    if (draw === batches) break;
    const shape = feed.shapeOf(batch);
    const consume = (name: string, gradient: NDArray) => {
      addGradient(sums.get(name)!, gradient);
      execution.release(name);
    };
    await execution.step(batchFeeds(batch, shape, targetCount(batch)), shape, draw++, { consume });
  }
  return (layer) => {
    const sum = sums.get(`${layer.name}.weight`)!;
    return { gradient: layer.transposed ? transposed(sum) : sum };
  };
}
