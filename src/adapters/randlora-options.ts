import { z } from 'zod';
import type { LayerSpec } from '../models/architecture.ts';
import { adapterOptions, loraOptions } from './options.ts';

export const randloraOptions = adapterOptions.extend({
  rank: z.int().positive().default(32).describe('rank of each random product; more is fewer parameters'),
  alpha: z.number().positive().default(640).describe('the change is scaled by alpha / rank'),
  scaleBySqrtN: z.boolean().default(false).describe('divide the scale by √N, N products, as the authors do'),
  basis: z
    .enum(['dense', 'sparse', 'verySparse'])
    .default('dense')
    .describe('sparse: entries −1, 0, 1 with 2/3 zeros; verySparse: 1 − 1/√min(m, n) zeros'),
  dropout: loraOptions.shape.dropout,
  seed: z.int().min(0).default(0).describe('seed of the shared random matrices'),
});

export type RandloraOptions = z.infer<typeof randloraOptions>;

/** d = min(m, n), D = max(m, n), N = ⌈d/r⌉ products. */
export function randloraSizes({ out, in: n }: LayerSpec, rank: number) {
  const [d, D] = [Math.min(out, n), Math.max(out, n)];
  return { d, D, N: Math.ceil(d / rank) };
}
