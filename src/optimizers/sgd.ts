import { z } from 'zod';
import { decayOf } from './adamw.ts';
import { defineOptimizer } from './optimizer.ts';
import { addWeightDecay, byRate, chain, momentum, perParameter } from './pieces.ts';

/** Stochastic gradient descent as torch.optim.SGD. */
export const sgd = defineOptimizer({
  name: 'sgd',
  title: 'Stochastic gradient descent with momentum',
  paper: 'Sutskever et al., ICML 2013',
  whenToChoose: 'Convolutional networks, or when no memory for state is left (momentum 0).',
  stateFormula: 'm n, or 0 without momentum',
  options: z.strictObject({
    momentum: z
      .number()
      .min(0)
      .max(0.99999)
      .default(0.9)
      .describe('share of the last direction that is kept'),
    dampening: z
      .number()
      .min(0)
      .max(1)
      .default(0)
      .describe('1 − dampening multiplies the gradient after step 1'),
    nesterov: z.boolean().default(false).describe('look ahead along the momentum'),
    weightDecay: z.number().min(0).default(0).describe('L2 penalty added to the gradient'),
  }),
  rules: (parameters, o) =>
    perParameter(parameters, (p) =>
      chain(
        addWeightDecay(decayOf(p, o.weightDecay)),
        ...(o.momentum > 0 ? [momentum(o.momentum, o)] : []),
        byRate(),
      ),
    ),
});
