import { z } from 'zod';
import { alloraFields, alloraNorm, rowFactors } from '../adapters/index.ts';
import { RankineError } from '../errors.ts';
import { mean, mul, sub, type Tensor } from '../graph/index.ts';
import { adamwOptions, adamwPiece, decayOf } from './adamw.ts';
import { type FactorPair, factorPairs, suffixed } from './factor-pairs.ts';
import { defineOptimizer, type ParameterInfo, type UpdateRule } from './optimizer.ts';
import { byRate, chain, type Piece, perParameter, scaleByAdam } from './pieces.ts';

export const alloraOptions = adamwOptions.omit({ form: true }).extend({
  epsilon: z.number().positive().default(1e-8).describe('guards the division'),
  moments: z.enum(['adam', 'none']).default('adam').describe('steps by AdamW, or by the gradient (SGD)'),
  ...alloraFields,
  norm: alloraNorm
    .default('delta-row')
    .describe('what each factor looks at: a row of B A, a row of B, or all of B A'),
});

export type AlloraOptions = z.infer<typeof alloraOptions>;

function direction(o: AlloraOptions): Piece {
  return o.moments === 'adam' ? scaleByAdam({ ...o, form: 'torch' }) : chain();
}

/** Row i of B's step times κ_i, A's step times their mean; the decay keeps the base rate. */
function pairRule({ A, B }: FactorPair, o: AlloraOptions): UpdateRule {
  const decayed = byRate(o.weightDecay);
  const [ofA, ofB] = [suffixed(direction(o), 'A'), suffixed(direction(o), 'B')];
  return {
    parameters: [A, B],
    state: { ...ofA.state(A), ...ofB.state(B) },
    update({ parameters, gradients, state, rate, step }) {
      const [a, b] = parameters;
      const ofRows = rowFactors(a, b, o);
      const moved = (piece: Piece, at: number, factor: Tensor) => {
        const [parameter, gradient] = [parameters[at], gradients[at]];
        const result = piece.apply(gradient, state, { parameter, rate, step });
        const scaled = decayed.apply(mul(result.direction, factor), {}, { parameter, rate, step });
        return { to: sub(parameter, scaled.direction), state: result.state };
      };
      const [forA, forB] = [moved(ofA, 0, mean(ofRows)), moved(ofB, 1, ofRows)];
      return { parameters: [forA.to, forB.to], state: { ...forA.state, ...forB.state } };
    },
  };
}

function otherPiece(parameter: ParameterInfo, o: AlloraOptions): Piece {
  const decay = decayOf(parameter, o.weightDecay);
  return o.moments === 'none' ? byRate(decay) : adamwPiece({ ...o, form: 'torch' }, parameter);
}

/** @throws RankineError `optimizers/scale` */
function checkScale({ A, scale }: FactorPair): void {
  if (Math.abs(scale - 1) < 1e-6) return;
  throw new RankineError(
    'optimizers/scale',
    `ALLoRA has no scale: its factors take that place. The change of ${A.layer!.name} is scaled by ${scale}.`,
    `Set the adapter's alpha so that the scale is 1 (lora: alpha ${A.shape[0]}, the rank).`,
  );
}

/**
 * ALLoRA on the side of the step (Huang and Balestriero 2024, arXiv 2410.09692): LoRA's steps multiplied, row by row, by
 * a factor that starts at η_max and falls as the row's change grows. What is not a factor takes the plain step.
 */
export const allora = defineOptimizer({
  name: 'allora',
  title: 'ALLoRA: Adaptive Learning Rate Mitigates LoRA Fatal Flaws',
  paper: 'Huang and Balestriero, 2024, arXiv 2410.09692',
  whenToChoose: 'Few samples and few steps with LoRA, without a search for its scale.',
  stateFormula: '2 r (m + n)',
  options: alloraOptions,
  // It has no scale: alpha equals the rank.
  adapter: { method: 'lora', rank: 8, alpha: 8 },
  rules(parameters, o) {
    const { pairs, others } = factorPairs('allora', parameters);
    for (const pair of pairs) checkScale(pair);
    return [...pairs.map((pair) => pairRule(pair, o)), ...perParameter(others, (p) => otherPiece(p, o))];
  },
});
