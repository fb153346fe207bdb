import { z } from 'zod';
import { defineOptimizer, type ParameterInfo } from './optimizer.ts';
import { byRate, byRateThenDecay, chain, perParameter, scaleByAdam } from './pieces.ts';

export const adamwOptions = z.strictObject({
  beta1: z.number().min(0).max(0.99999).default(0.9).describe('decay of the first moment'),
  beta2: z.number().min(0).max(0.999999).default(0.999).describe('decay of the second moment'),
  epsilon: z.number().positive().optional().describe('guards the division (default 1e-8; form hf: 1e-6)'),
  weightDecay: z
    .number()
    .min(0)
    .default(0)
    .describe('decoupled weight decay; norms and biases are not decayed'),
  form: z.enum(['torch', 'hf']).default('torch').describe('where epsilon and the decay stand'),
});

export type AdamwOptions = z.infer<typeof adamwOptions>;

/** Norms and biases are not decayed: the usual practice of torch and transformers recipes. */
export function decayOf(parameter: ParameterInfo, decay: number): number {
  return parameter.role === 'norm' || parameter.role === 'bias' ? 0 : decay;
}

/** AdamW's piece for one parameter; `factor` multiplies its rate. */
export function adamwPiece(o: AdamwOptions, parameter: ParameterInfo, factor = 1) {
  const { beta1, beta2, form } = o;
  const decay = decayOf(parameter, o.weightDecay);
  const epsilon = o.epsilon ?? (form === 'hf' ? 1e-6 : 1e-8);
  const adam = scaleByAdam({ beta1, beta2, epsilon, form });
  return form === 'torch' ? chain(adam, byRate(decay, factor)) : chain(adam, byRateThenDecay(decay));
}

/** AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) in the forms of torch and of transformers. */
export const adamw = defineOptimizer({
  name: 'adamw',
  title: 'Decoupled Weight Decay Regularization',
  paper: 'Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101',
  whenToChoose: 'The default.',
  stateFormula: '2 m n',
  options: adamwOptions,
  rules: (parameters, o) => perParameter(parameters, (p) => adamwPiece(o, p)),
});
