import type { AdaptedLayer, PartialReset, StepInfo } from '../adapters/index.ts';
import type { NDArray } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import { canonicalWeight, factorName, storeWeight } from './adaptation.ts';
import { movables } from './trainables.ts';
import type { UpdaterParts } from './update.ts';

/**
 * What a form's steps see of one update.
 * @param held gradients of this update
 * @param observed what the form observed in it
 * @param extra takes what the form reports
 * @param place how many updates each parameter has had
 */
export function stepInfo(
  parts: UpdaterParts,
  held: ReadonlyMap<string, NDArray>,
  observed: ReadonlyMap<string, NDArray>,
  extra: Record<string, number>,
  place: { readonly done: number },
): StepInfo {
  const { live, progress, updates, recipe, total } = parts;
  const { model } = live;
  const reset = (parameter: string, part?: PartialReset) => {
    if (part) updates.prune(parameter, part, `${progress.step}`);
    else {
      updates.reset(parameter);
      progress.resets[parameter] = place.done;
    }
  };
  return {
    step: progress.step,
    total,
    layers: live.adaptation?.layers ?? [],
    gradient: (layer, name) => held.get(factorName(layer.spec.name, name))!,
    observed: (layer, name) => observed.get(factorName(layer.spec.name, name))!,
    resetOptimizer: (layer, name, part) => reset(factorName(layer.spec.name, name), part),
    resetOptimizers(part) {
      for (const { info } of movables(live.trainables)) reset(info.name, part);
    },
    addToBase(layer: AdaptedLayer, delta: NDArray) {
      const weight = canonicalWeight(model, layer.spec);
      const data = (weight.data as Float32Array).map((w, i) => w + Number(delta.data[i]));
      storeWeight(model, layer.spec, { ...weight, data });
      const name = `${layer.spec.name}.weight`;
      if (!progress.changedBase.includes(name)) progress.changedBase.push(name);
    },
    report(name, value) {
      extra[name] = value;
    },
    random: (purpose) => random(recipe.seed, `steps/${progress.step}/${purpose}`),
  };
}
