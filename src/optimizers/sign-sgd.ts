import { z } from 'zod';
import { decayOf } from './adamw.ts';
import { defineOptimizer } from './optimizer.ts';
import { byRate, bySign, chain, perParameter } from './pieces.ts';

/** signSGD (Bernstein et al. 2018, arXiv 1802.04434): W ← W − η sign(G), no state. */
export const signSgd = defineOptimizer({
  name: 'sign-sgd',
  title: 'signSGD: Compressed Optimisation for Non-Convex Problems',
  paper: 'Bernstein et al., ICML 2018, arXiv 1802.04434',
  whenToChoose: 'No memory for any state, and gradients of very different sizes.',
  stateFormula: '0',
  options: z.strictObject({
    weightDecay: z.number().min(0).default(0).describe('decoupled weight decay'),
  }),
  rules: (parameters, o) => perParameter(parameters, (p) => chain(bySign, byRate(decayOf(p, o.weightDecay)))),
});
