import { z } from 'zod';
import { RankineError } from '../errors.ts';
import { sizeOf } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { matchesPattern } from './targets.ts';

/** Options that every weight form has. */
export const adapterOptions = z.strictObject({
  /** Rank r. */
  rank: z.int().positive().default(8).describe('rank r of the change'),
  /** Module suffixes, a regular expression over whole paths, or `all-linear`. */
  targets: z
    .union([z.string(), z.array(z.string()).min(1)])
    .default('all-linear')
    .describe('layers to adapt: suffixes, one regular expression, or all-linear'),
  exclude: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .describe('layers to leave out, in the form of targets'),
  bias: z.enum(['none', 'all', 'lora_only']).default('none').describe('biases that are trained too'),
  /** Modules of the base trained in full beside the adapter, by suffix. */
  modulesToSave: z
    .array(z.string())
    .default([])
    .describe('modules of the base that are trained in full, by suffix'),
});

export type AdapterOptions = z.infer<typeof adapterOptions>;

/** Options of LoRA and of every form that takes the same; others extend `adapterOptions` by those that they obey. */
export const loraOptions = adapterOptions.extend({
  /** Scale numerator; default: twice the rank. */
  alpha: z
    .number()
    .positive()
    .optional()
    .describe('the change is scaled by alpha / rank (default: 2 × rank)'),
  /** Dropout on the adapter's input. */
  dropout: z.number().min(0).max(0.99).default(0).describe('dropout on the input of the adapter'),
  rankPattern: z
    .record(z.string(), z.int().positive())
    .default({})
    .describe('rank by layer suffix or expression'),
  alphaPattern: z.record(z.string(), z.number()).default({}).describe('alpha by layer suffix or expression'),
});

export type LoraOptions = z.infer<typeof loraOptions>;

/**
 * A layer's own options: rank and alpha by PEFT's pattern rule, the first matching key wins. Forms without such options
 * keep theirs as they are.
 */
export function resolveOptions<O extends AdapterOptions>(options: O, layer: LayerSpec): O {
  const { rank, alpha, rankPattern, alphaPattern } = options as O & Partial<LoraOptions>;
  return {
    ...options,
    ...(rankPattern ? { rank: ofLayer(rankPattern, layer) ?? rank } : {}),
    ...(alphaPattern ? { alpha: ofLayer(alphaPattern, layer) ?? alpha ?? 2 * rank } : {}),
  };
}

function ofLayer<T>(patterns: Readonly<Record<string, T>>, layer: LayerSpec): T | undefined {
  const key = Object.keys(patterns).find((k) => matchesPattern(k, layer.name));
  return key === undefined ? undefined : patterns[key];
}

/** Throws `adapters/rank` where the rank exceeds the smaller side of the layer's matrix, of a convolution out × the rest. */
export function checkRank(form: string, layer: LayerSpec, rank: number): void {
  const columns = sizeOf([layer.in, ...(layer.kernel ?? [])]);
  const most = Math.min(layer.out, columns);
  if (rank > most)
    throw new RankineError(
      'adapters/rank',
      `${form}: rank ${rank} exceeds the smaller side of ${layer.name} (${layer.out}×${columns}).`,
      `Use at most ${most}, or give this layer a rank of its own with rankPattern.`,
    );
}
