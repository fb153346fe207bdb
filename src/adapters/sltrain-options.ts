import { z } from 'zod';
import { RankineError } from '../errors.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { adapterOptions, loraOptions } from './options.ts';
import { restartFields } from './restart.ts';

export const sltrainOptions = adapterOptions.extend({
  rank: z.int().positive().default(128).describe('rank of the factors'),
  alpha: z.number().positive().default(32).describe('the product of the factors is scaled by alpha / rank'),
  density: z
    .number()
    .min(0)
    .max(1)
    .default(0.03)
    .describe('share of the entries, drawn once, that have a value of their own'),
  trainScale: z
    .boolean()
    .default(false)
    .describe('the product is scaled by tanh of a trained number, first 1, instead of alpha / rank'),
  rankPattern: loraOptions.shape.rankPattern,
  ...restartFields,
});

export type SltrainOptions = z.infer<typeof sltrainOptions>;

/**
 * k = ⌊δ m n⌋ entries that have a value of their own.
 *
 * @throws RankineError `adapters/too-large` where positions would not fit 32 bits
 */
export function supportSize({ name, out, in: n }: LayerSpec, density: number): number {
  const size = out * n;
  if (size > 2 ** 31)
    throw new RankineError(
      'adapters/too-large',
      `SLTrain: ${name} has ${out}×${n} entries, more than 32-bit positions can name.`,
      'Leave the layer out with exclude.',
    );
  return Math.floor(density * size);
}
