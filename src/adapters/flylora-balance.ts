import type { FlyloraOptions } from './flylora-options.ts';
import type { FormSteps } from './weight-form.ts';

/** d_i ← d_i + rate · sign(c̄ − c_i) once an update, c_i the tokens of all its batches that chose rank i. */
export function balance(o: FlyloraOptions): FormSteps<FlyloraOptions> {
  return {
    state: {},
    observes: () => true,
    afterGradient(info) {
      for (const layer of info.layers) {
        const counts = info.observed(layer, 'counts').data as Float32Array;
        const mean = counts.reduce((t, c) => t + c, 0) / counts.length;
        const bias = layer.frozen.bias.data as Float32Array;
        for (let i = 0; i < bias.length; i++) bias[i] += o.balanceRate * Math.sign(mean - counts[i]);
        info.report(`flylora/imbalance/${layer.spec.name}`, variation(counts, mean));
      }
    },
  };
}

/** Standard deviation over mean; 0 where nothing was counted. */
function variation(counts: Float32Array, mean: number): number {
  if (mean === 0) return 0;
  return Math.sqrt(counts.reduce((t, c) => t + (c - mean) ** 2, 0) / counts.length) / mean;
}
