import { z } from 'zod';
import type { LayerSpec } from '../models/architecture.ts';
import { adapterOptions } from './options.ts';

export const saltOptions = adapterOptions.extend({
  rank: z.int().positive().default(8).describe('rank ρ of the change among the small singular values'),
  ratio: z
    .number()
    .min(0)
    .max(1)
    .default(0.1)
    .describe('share of the singular values that are scaled and shifted; at least one unless 0'),
  kept: z.int().min(0).optional().describe('how many instead'),
  init: z
    .enum(['zero', 'gaussian'])
    .default('zero')
    .describe('zero: Y = 0, exactly at W₀; gaussian: X and Y 0.01 N(0, 1), as the first published code'),
  relu: z
    .enum(['all', 'diagonal', 'none'])
    .default('all')
    .describe('what of the core is cut at zero: every entry, the diagonal, nothing'),
  penalty: z
    .number()
    .min(0)
    .default(0)
    .describe('weight of ‖change of the large values‖ + ‖X Y‖ in the loss'),
});

export type SaltOptions = z.infer<typeof saltOptions>;

/** k singular values, t of them scaled, q = k − t mixed, for W as out × columns. */
export function saltSizes(layer: LayerSpec, columns: number, o: SaltOptions) {
  const k = Math.min(layer.out, columns);
  const wanted = o.kept ?? (o.ratio === 0 ? 0 : Math.max(1, Math.floor(o.ratio * k)));
  const t = Math.min(wanted, k);
  return { k, t, q: k - t };
}
