import { type NDArray, zeros } from '../graph/index.ts';
import type { FlyloraOptions } from './flylora-options.ts';
import type { AdaptedLayer, FormSteps } from './weight-form.ts';

/**
 * d_i ← d_i + rate · sign(c̄ − c_i) once an update, c_i the tokens of all its batches that chose rank i. The counts come
 * as the gradient of the bias, which is then zeroed; what the optimizer does to the bias (decay) is undone.
 */
export function balance(
  o: FlyloraOptions,
  layers: readonly AdaptedLayer<FlyloraOptions>[],
): FormSteps<FlyloraOptions> {
  const state: Record<string, NDArray> = {};
  for (const { spec, trainable } of layers) {
    state[spec.name] = zeros(trainable.bias.shape);
    (state[spec.name].data as Float32Array).set(trainable.bias.data as Float32Array);
  }
  return {
    state,
    afterGradient(info) {
      for (const layer of info.layers) {
        const counts = info.gradient(layer, 'bias').data as Float32Array;
        const mean = counts.reduce((t, c) => t + c, 0) / counts.length;
        const bias = state[layer.spec.name].data as Float32Array;
        for (let i = 0; i < bias.length; i++) bias[i] += o.balanceRate * Math.sign(mean - counts[i]);
        info.report(`flylora/imbalance/${layer.spec.name}`, variation(counts, mean));
        counts.fill(0);
      }
    },
    afterStep(info) {
      for (const { spec, trainable } of info.layers)
        (trainable.bias.data as Float32Array).set(state[spec.name].data as Float32Array);
    },
  };
}

/** Standard deviation over mean; 0 where nothing was counted. */
function variation(counts: Float32Array, mean: number): number {
  if (mean === 0) return 0;
  return Math.sqrt(counts.reduce((t, c) => t + (c - mean) ** 2, 0) / counts.length) / mean;
}
