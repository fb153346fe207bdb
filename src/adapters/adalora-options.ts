import { z } from 'zod';
import { adapterOptions, loraOptions } from './options.ts';

const decay = z.number().gt(0).lt(1).default(0.85);

/** Ranks by layer are what the method finds out, so there are no patterns. */
export const adaloraOptions = adapterOptions.extend({
  rank: z.int().positive().default(12).describe('triplets of every layer at the start (init_r)'),
  targetRank: z.int().positive().default(8).describe('triplets a layer at the end, on average (target_r)'),
  alpha: z.number().positive().default(16).describe('the change is scaled by alpha / rank'),
  dropout: loraOptions.shape.dropout,
  startSteps: z.int().min(0).default(0).describe('updates before the budget shrinks (tinit)'),
  finalSteps: z.int().min(0).default(0).describe('updates at the end with the final ranks (tfinal)'),
  every: z.int().positive().default(1).describe('updates between two allocations (deltaT)'),
  beta1: decay.describe('smoothing of the importance'),
  beta2: decay.describe('smoothing of its uncertainty'),
  orthogonality: z.number().min(0).default(0.5).describe('weight of the penalty (orth_reg_weight)'),
});

export type AdaloraOptions = z.infer<typeof adaloraOptions>;

/** The reference's divisor: r₀ even after pruning. */
export const adaloraScale = (o: AdaloraOptions) => o.alpha / (o.rank + 1e-5);
