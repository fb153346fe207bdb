import { z } from 'zod';
import { decayOf } from './adamw.ts';
import { defineOptimizer } from './optimizer.ts';
import { byRate, chain, perParameter, scaleByLion } from './pieces.ts';

/** Lion (Chen et al. 2023, arXiv 2302.06675). */
export const lion = defineOptimizer({
  name: 'lion',
  title: 'Symbolic Discovery of Optimization Algorithms',
  paper: 'Chen et al., NeurIPS 2023, arXiv 2302.06675',
  whenToChoose: 'Half of AdamW’s state; take a rate 3 to 10 times lower.',
  stateFormula: 'm n',
  options: z.strictObject({
    beta1: z.number().min(0).max(0.99999).default(0.9).describe('average whose sign is the direction'),
    beta2: z.number().min(0).max(0.99999).default(0.99).describe('average that is kept'),
    weightDecay: z.number().min(0).default(0).describe('decoupled weight decay'),
  }),
  rules: (parameters, o) =>
    perParameter(parameters, (p) => chain(scaleByLion(o.beta1, o.beta2), byRate(decayOf(p, o.weightDecay)))),
});
