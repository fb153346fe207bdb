import { z } from 'zod';
import { matmul, sub, type Tensor } from '../graph/index.ts';
import { adamwOptions, adamwPiece, decayOf } from './adamw.ts';
import { type FactorPair, factorPairs, suffixed } from './factor-pairs.ts';
import {
  conditionNumber,
  equivalent,
  type Factors,
  gramState,
  gramsOf,
  measureGrams,
  nearest,
  nearestToOwn,
  type OfFactors,
} from './lora-pro-adjust.ts';
import { defineOptimizer, type ParameterInfo, type UpdateInputs, type UpdateRule } from './optimizer.ts';
import { byRate, chain, type Piece, perParameter, scaleByAdam } from './pieces.ts';

export const loraProOptions = adamwOptions.omit({ form: true }).extend({
  epsilon: z.number().positive().default(1e-8).describe('guards the division'),
  moments: z
    .enum(['full', 'light', 'none'])
    .default('full')
    .describe('full: of the m×n gradient that the factors reach; light: of the factors; none: SGD'),
  ridge: z
    .number()
    .min(0)
    .default(1e-8)
    .describe('added to the eigenvalues of AAᵀ and BᵀB before their inverses, as a share of their mean'),
});

export type LoraProOptions = z.infer<typeof loraProOptions>;

type State = Readonly<Record<string, Tensor>>;

/** Makes steps of A and B out of their gradients. */
interface Mover {
  readonly state: UpdateRule['state'];
  apply(f: Factors, g: OfFactors, inputs: UpdateInputs): { steps: OfFactors; state: State };
}

/** Adam on the m×n gradient that the factors reach; what it gives is taken for the full gradient. */
function fullMover({ A, B }: FactorPair, o: LoraProOptions): Mover {
  const adam = scaleByAdam({ ...o, form: 'torch' });
  return {
    state: adam.state({ ...B, shape: [B.shape[0], A.shape[1]] }),
    apply(f, g, { parameters: [parameter], state, rate, step }) {
      const reached = equivalent(f, nearest(f, g));
      const result = adam.apply(reached, state, { parameter, rate, step });
      const own = {
        A: matmul(f.B, result.direction, { transA: true, alpha: f.scale }),
        B: matmul(result.direction, f.A, { transB: true, alpha: f.scale }),
      };
      return { steps: nearestToOwn(f, nearest(f, own)), state: result.state };
    },
  };
}

/** The adjusted gradients, each through a piece of its own. */
function factorMover({ A, B }: FactorPair, piece: Piece): Mover {
  const [ofA, ofB] = [suffixed(piece, 'A'), suffixed(piece, 'B')];
  return {
    state: { ...ofA.state(A), ...ofB.state(B) },
    apply(f, g, { parameters, state, rate, step }) {
      const h = nearestToOwn(f, nearest(f, g));
      const a = ofA.apply(h.A, state, { parameter: parameters[0], rate, step });
      const b = ofB.apply(h.B, state, { parameter: parameters[1], rate, step });
      return { steps: { A: a.direction, B: b.direction }, state: { ...a.state, ...b.state } };
    },
  };
}

function moverOf(pair: FactorPair, o: LoraProOptions): Mover {
  if (o.moments === 'full') return fullMover(pair, o);
  return factorMover(pair, o.moments === 'light' ? scaleByAdam({ ...o, form: 'torch' }) : chain());
}

function pairRule(pair: FactorPair, o: LoraProOptions): UpdateRule {
  const mover = moverOf(pair, o);
  const decayed = byRate(o.weightDecay);
  return {
    parameters: [pair.A, pair.B],
    state: { ...mover.state, ...gramState(pair.A.shape[0]) },
    prepare(inputs) {
      measureGrams(inputs);
      for (const letter of ['A', 'B'] as const) {
        const condition = conditionNumber(inputs.state[`values${letter}`], o.ridge);
        const name = `lora-pro/condition/${letter}/${pair[letter].layer!.name}`;
        if (condition !== undefined) inputs.report(name, condition);
      }
    },
    update(inputs) {
      const { parameters, gradients, state, rate, step } = inputs;
      const [A, B] = parameters;
      const f: Factors = { A, B, scale: pair.scale, ridge: o.ridge, ...gramsOf(state) };
      const { steps, state: next } = mover.apply(f, { A: gradients[0], B: gradients[1] }, inputs);
      const moved = (parameter: Tensor, direction: Tensor) =>
        sub(parameter, decayed.apply(direction, {}, { parameter, rate, step }).direction);
      return { parameters: [moved(A, steps.A), moved(B, steps.B)], state: next };
    },
  };
}

function otherPiece(parameter: ParameterInfo, o: LoraProOptions): Piece {
  const decay = decayOf(parameter, o.weightDecay);
  return o.moments === 'none' ? byRate(decay) : adamwPiece({ ...o, form: 'torch' }, parameter);
}

/**
 * LoRA-Pro (Wang et al. 2024, arXiv 2407.18242): of all steps of A and B, the one whose change of W is nearest to full
 * fine-tuning's; everything else that trains takes AdamW (SGD where `moments` is `none`).
 */
export const loraPro = defineOptimizer({
  name: 'lora-pro',
  title: 'LoRA-Pro: Are Low-Rank Adapters Properly Optimized?',
  paper: 'Wang et al., ICLR 2025, arXiv 2407.18242',
  whenToChoose:
    'LoRA that lags behind full fine-tuning, where memory for moments of whole matrices is there.',
  stateFormula: '2 m n + 2 r (r + 1); light: 2 r (m + n) + 2 r (r + 1)',
  options: loraProOptions,
  adapter: { method: 'lora' },
  rules(parameters, o) {
    const { pairs, others } = factorPairs('lora-pro', parameters);
    return [...pairs.map((pair) => pairRule(pair, o)), ...perParameter(others, (p) => otherPiece(p, o))];
  },
});
