import { z } from 'zod';
import { adamwPiece, decayOf } from './adamw.ts';
import { defineOptimizer, type ParameterInfo } from './optimizer.ts';
import { byRateThenDecay, chain, type Piece, perParameter, scaleByAdam } from './pieces.ts';
import { projected, projectionOptions } from './projection.ts';
import { isMatrix, requireMatrices } from './select.ts';

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

export const galoreOptions = hfAdamOptions.extend(projectionOptions.shape);

export type GaloreOptions = z.infer<typeof galoreOptions>;

/** AdamW for what is not projected. */
export function hfAdamw(
  parameter: ParameterInfo,
  { beta1, beta2, epsilon, weightDecay }: HfAdamOptions,
): Piece {
  return adamwPiece({ beta1, beta2, epsilon, weightDecay, form: 'hf' }, parameter);
}

function galorePiece(parameter: ParameterInfo, o: GaloreOptions): Piece {
  const adam = scaleByAdam({ ...o, form: 'hf' });
  return chain(projected('galore', parameter, o, adam), byRateThenDecay(decayOf(parameter, o.weightDecay)));
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
  stateFormula: '2 max(m, n) r + min(m, n) r',
  options: galoreOptions,
  rules(parameters, o) {
    requireMatrices('galore', parameters);
    return perParameter(parameters, (p) => (isMatrix(p) ? galorePiece(p, o) : hfAdamw(p, o)));
  },
});
