import { z } from 'zod';
import { apollo, apolloOptions } from './apollo.ts';
import { defineOptimizer } from './optimizer.ts';

/** APOLLO-Mini (Zhu et al. 2025, arXiv 2412.05270, section 4.2): APOLLO of rank 1, with a single factor a matrix. */
export const apolloMini = defineOptimizer({
  ...apollo,
  name: 'apollo-mini',
  whenToChoose: 'AdamW-like steps where hardly more memory than SGD’s is there.',
  stateFormula: '2 max(m, n) + min(m, n) + 1',
  options: apolloOptions.extend({
    rank: z.number().int().min(1).default(1).describe('dimensions of the random projection, r'),
    scale: z.number().positive().default(128).describe('its root multiplies the step of block matrices'),
    scaling: apolloOptions.shape.scaling.default('tensor'),
  }),
});
