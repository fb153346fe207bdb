import { z } from 'zod';
import { adapterOptions, loraOptions } from './options.ts';

export const nolaOptions = adapterOptions.extend({
  alpha: loraOptions.shape.alpha,
  bases: z.int().positive().default(256).describe('random matrices mixed for each factor'),
  start: z
    .enum(['zero', 'mean'])
    .default('zero')
    .describe('zero: exactly at W₀, with a fixed A⁰; mean: all coefficients 1/k, near W₀'),
  dropout: loraOptions.shape.dropout,
  rankPattern: loraOptions.shape.rankPattern,
  seed: z.int().min(0).default(0).describe('seed of the random matrices'),
});

export type NolaOptions = z.infer<typeof nolaOptions>;

/** s = α/r; the α that is not given is 2r of the layer's own r. */
export function nolaScale({ alpha, rank }: NolaOptions): number {
  return alpha === undefined ? 2 : alpha / rank;
}
