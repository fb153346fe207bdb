import { z } from 'zod';
import { adapterOptions } from './options.ts';

export const flyloraOptions = adapterOptions.extend({
  rank: z.int().positive().default(32).describe('ranks in all'),
  active: z
    .int()
    .positive()
    .default(8)
    .describe('ranks that pass for each token; all where it is not below rank'),
  alpha: z.number().positive().default(64).describe('the change is scaled by alpha / rank'),
  score: z
    .enum(['signed', 'abs', 'absPlus'])
    .default('signed')
    .describe('ranks are chosen by u + d, |u + d| (cannot be balanced) or |u| + d'),
  balanceRate: z.number().min(0).default(1e-3).describe('step of the balancing bias d after each update'),
  stopGradient: z
    .boolean()
    .default(false)
    .describe('no gradient through the branch to earlier layers, as the fork'),
});

export type FlyloraOptions = z.infer<typeof flyloraOptions>;

/** p = max(1, ⌊n k / r⌋) nonzeros in a row of A, at most n. */
export function nonzeros(n: number, { rank, active }: FlyloraOptions): number {
  return Math.max(1, Math.floor((n * Math.min(active, rank)) / rank));
}
