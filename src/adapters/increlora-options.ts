import { z } from 'zod';
import type { LayerSpec } from '../models/architecture.ts';
import { adapterOptions, loraOptions } from './options.ts';

const fields = adapterOptions.extend({
  rank: z.int().positive().default(2).describe('average rank at the end: the budget is rank × layers'),
  initialRank: z.int().positive().default(1).describe('rank of every layer at the start'),
  grow: z.int().positive().default(1).describe('ranks that a chosen layer gains'),
  top: z.int().positive().default(3).describe('layers that grow at each event'),
  every: z.int().positive().default(100).describe('updates between events'),
  scored: z
    .int()
    .positive()
    .default(30)
    .describe('updates before an event in which scores are taken; earlier ones weigh beta1 ** scored'),
  first: z.int().min(0).default(100).describe('updates before the first event'),
  warmup: z.int().min(0).optional().describe('updates over which new ranks reach the rate (default: every)'),
  maxRank: z
    .int()
    .positive()
    .optional()
    .describe('room of a layer, reserve included (default: 4 × rank + grow, at most its smaller side)'),
  alpha: z.number().positive().default(16).describe('the change is scaled by alpha / live rank'),
  beta1: z.number().min(0).max(1).default(0.85).describe('smoothing of the score'),
  beta2: z.number().min(0).max(1).default(0.85).describe("smoothing of the score's uncertainty"),
  orthogonality: z.number().min(0).default(0.1).describe('weight of ‖A Aᵀ − I‖ and ‖Bᵀ B − I‖ in the loss'),
  scoreNorm: z.enum(['sqrt', 'mean']).default('sqrt').describe('scores divided by √(m n), or by m n'),
  advance: z.boolean().default(true).describe('ranks in reserve are trained before they count'),
  dropout: loraOptions.shape.dropout,
});

export const increloraOptions = fields.refine((o) => o.initialRank <= o.rank, {
  path: ['rank'],
  message: 'the budget is below the ranks that the layers start with (initialRank)',
});

export type IncreloraOptions = z.infer<typeof increloraOptions>;

/** e of ranks in reserve: part of ΔW, hardly. */
export const RESERVE = 1e-5;

/** Rows of each block: the initial ranks, then as many gains as there is room for. */
export function blockSizes(layer: LayerSpec, o: IncreloraOptions): number[] {
  const room = Math.min(o.maxRank ?? 4 * o.rank + o.grow, layer.out, layer.in);
  const blocks = Math.max(0, Math.floor((room - o.initialRank) / o.grow));
  return [o.initialRank, ...new Array<number>(blocks).fill(o.grow)];
}

/** s = α/(ρ + 1e-5) of ρ live ranks. */
export function increloraScale(o: IncreloraOptions, live: number): number {
  return o.alpha / (live + 1e-5);
}
