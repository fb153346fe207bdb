import { z } from 'zod';
import { loraOptions } from './options.ts';

export const loraGgpoOptions = loraOptions.extend({
  mode: z
    .enum(['ggpo', 'mgpo'])
    .default('ggpo')
    .describe('ggpo: random noise on the merged weight; mgpo: the factors moved along their momentum'),
  sigma: z.number().min(0).default(0.03).describe('size of the noise relative to a row’s norm (ggpo)'),
  beta: z.number().min(0).default(0.01).describe('weight of the gradient’s norm beside it (ggpo)'),
  noise: z
    .enum(['variance', 'sdscripts'])
    .default('variance')
    .describe('variance: σ²(w² + β γ²)/n an element; sdscripts: as that implementation has it (ggpo)'),
  rho: z.number().min(0).default(0.05).describe('distance of the move (mgpo)'),
  momentum: z.number().min(0).max(0.99999).default(0.9).describe('decay of the gradients’ average (mgpo)'),
  normDecay: z.number().min(0).max(0.99999).default(0.9).describe('decay of their norms’ average (mgpo)'),
});

export type LoraGgpoOptions = z.infer<typeof loraGgpoOptions>;
