import { z } from 'zod';
import { adamwOptions, adamwPiece } from './adamw.ts';
import { noFactors } from './factor-pairs.ts';
import { defineOptimizer } from './optimizer.ts';
import { perParameter } from './pieces.ts';

/** LoRA+ (Hayou et al. 2024, arXiv 2402.12354): AdamW with a larger rate for B than for A. */
export const loraPlus = defineOptimizer({
  name: 'lora+',
  title: 'LoRA+: Efficient Low Rank Adaptation of Large Models',
  paper: 'Hayou et al., ICML 2024, arXiv 2402.12354',
  whenToChoose: 'Wide models, where LoRA with one rate for both factors learns too slowly.',
  stateFormula: '2 r (m + n)',
  adapter: { method: 'lora' },
  options: adamwOptions.omit({ form: true }).extend({
    ratio: z.number().min(1).default(16).describe('rate of B as a multiple of the rate of A'),
  }),
  rules(parameters, { ratio, ...o }) {
    if (!parameters.some((p) => p.factor === 'A' || p.factor === 'B')) throw noFactors('lora+');
    return perParameter(parameters, (p) =>
      adamwPiece({ ...o, form: 'torch' }, p, p.factor === 'B' ? ratio : 1),
    );
  },
});
