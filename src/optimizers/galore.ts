import { z } from 'zod';
import { sizeOf } from '../graph/index.ts';
import { isNarrow, narrowRule, wideNotices } from './adam-8bit.ts';
import { hfAdam } from './adam-forms.ts';
import { adamwPiece, decayOf } from './adamw.ts';
import { defineOptimizer, type ParameterInfo, type UpdateRule } from './optimizer.ts';
import { byRateThenDecay, type Piece, pieceRule } from './pieces.ts';
import { projection, projectionOptions } from './projection.ts';
import { isMatrix, requireMatrices } from './select.ts';
import { liftBack, subspaceRule } from './subspace.ts';

/** AdamW as GaLore and its relatives take it: ε before the bias correction, decay after the step. */
export const hfAdamOptions = z.strictObject({
  beta1: z.number().min(0).max(0.99999).default(0.9).describe('decay of the first moment'),
  beta2: z.number().min(0).max(0.999999).default(0.999).describe('decay of the second moment'),
  epsilon: z.number().min(0).default(1e-6).describe('guards the division, before the bias correction'),
  weightDecay: z
    .number()
    .min(0)
    .default(0)
    .describe('decoupled weight decay; norms and biases are not decayed'),
});

export type HfAdamOptions = z.infer<typeof hfAdamOptions>;

export const galoreOptions = hfAdamOptions.extend({
  ...projectionOptions.shape,
  bits: z
    .union([z.literal(32), z.literal(8)])
    .default(32)
    .describe('bits of each moment; 8: block by block, but not of embeddings'),
  smallest: z.number().int().min(1).default(4096).describe('moments with fewer elements keep 32 bits'),
});

export type GaloreOptions = z.infer<typeof galoreOptions>;

/** AdamW for what is not projected. */
export function hfAdamw(
  parameter: ParameterInfo,
  { beta1, beta2, epsilon, weightDecay }: HfAdamOptions,
): Piece {
  return adamwPiece({ beta1, beta2, epsilon, weightDecay, form: 'hf' }, parameter);
}

type Bits = Pick<GaloreOptions, 'bits' | 'smallest'>;

/** Bits of moments of this shape. */
export function bitsOf({ shape }: Pick<ParameterInfo, 'shape'>, { bits, smallest }: Bits): 8 | 32 {
  return sizeOf(shape) >= smallest ? bits : 32;
}

/** AdamW for what is not projected. */
export function otherRule(parameter: ParameterInfo, o: HfAdamOptions & Bits): UpdateRule {
  const narrow = o.bits === 8 && isNarrow(parameter, { ...o, embeddings: '32-bit' });
  return narrow ? narrowRule(parameter, { ...o, form: 'hf' }) : pieceRule(parameter, hfAdamw(parameter, o));
}

/** Which moments keep 32 bits although 8 are asked for. */
export function bitsNotices(
  method: string,
  parameters: readonly ParameterInfo[],
  o: GaloreOptions,
): string[] {
  if (o.bits === 32) return [];
  const size = (p: ParameterInfo) => sizeOf(isMatrix(p) ? projection(method, p, o).shape : p.shape);
  return wideNotices(method, parameters, { ...o, embeddings: '32-bit' }, size);
}

/** @param method that is named where the rank is refused */
export function galoreRule(parameter: ParameterInfo, o: GaloreOptions, method = 'galore'): UpdateRule {
  const tail = byRateThenDecay(decayOf(parameter, o.weightDecay));
  const space = projection(method, parameter, o);
  const adam = { form: hfAdam(o), bits: bitsOf(space, o) };
  return subspaceRule(parameter, space, adam, liftBack(space, o.scale), tail);
}

/**
 * GaLore (Zhao et al. 2024, arXiv 2403.03507): Adam on the coordinates of each block matrix's gradient in a subspace
 * that moves every T steps; all other parameters take AdamW. The moments are never reset.
 */
export const galore = defineOptimizer({
  name: 'galore',
  title: 'GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection',
  paper: 'Zhao et al., ICML 2024, arXiv 2403.03507',
  whenToChoose: 'All weights must move and Adam’s state does not fit; the residual gradient may be dropped.',
  stateFormula:
    '2 max(m, n) r + min(m, n) r; with 8 bits 2 max(m, n) r bytes and 1/32 more + 4 min(m, n) r bytes',
  options: galoreOptions,
  notices: (parameters, o) => bitsNotices('galore', parameters, o),
  rules(parameters, o) {
    requireMatrices('galore', parameters, o.rank);
    return parameters.map((p) => (isMatrix(p) ? galoreRule(p, o) : otherRule(p, o)));
  },
});
