import { z } from 'zod';
import { adapterOptions } from './options.ts';

export const sstOptions = adapterOptions.extend({
  every: z
    .int()
    .positive()
    .optional()
    .describe('updates T between two samples (default: 200, in shorter runs a quarter of the run)'),
  iterations: z
    .int()
    .positive()
    .optional()
    .describe('samples K between two decompositions (default: smaller side / rank, about every vector once)'),
  warmup: z.int().min(0).default(20).describe('updates in which sampled vectors speed up linearly'),
  gradient: z
    .enum(['enhanced', 'tangent', 'true'])
    .default('enhanced')
    .describe('of the vectors: without σ; without σ and the part along the vector; or as it is'),
  sampling: z
    .enum(['spectrum', 'uniform'])
    .default('spectrum')
    .describe('larger singular values more often, or all alike'),
});

export type SstOptions = z.infer<typeof sstOptions>;
