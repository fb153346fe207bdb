import { z } from 'zod';
import { add, div, maximum, mul, scale, sqrt, sub, sum, type Tensor } from '../graph/index.ts';
import { uncorrected } from './adam-forms.ts';
import { decayOf } from './adamw.ts';
import { bitsNotices, bitsOf, galoreOptions, otherRule } from './galore.ts';
import { defineOptimizer, type ParameterInfo, type UpdateRule } from './optimizer.ts';
import { biasCorrection, byRateThenDecay, limitNorm, type Piece, scaleByMoments, squares } from './pieces.ts';
import { type Projection, projection } from './projection.ts';
import { isMatrix, requireMatrices } from './select.ts';
import { inSubspace, type Lift, subspaceRule } from './subspace.ts';

export const firaOptions = galoreOptions.extend({
  projection: z
    .enum(['std', 'reverse_std', 'right', 'left'])
    .default('std')
    .describe('side of the basis; std: the shorter one'),
  residual: z
    .enum(['code', 'orthogonal'])
    .default('code')
    .describe('code: G − α P R, as released; orthogonal: G − P R, as written'),
  scaling: z
    .enum(['vector', 'matrix'])
    .default('vector')
    .describe('a factor for each row or column of the long side, or one for the matrix'),
  limit: z.boolean().default(true).describe('whether the growth of the residual part is limited'),
  growth: z.number().min(1).default(1.01).describe('most that its norm may grow in a step'),
});

export type FiraOptions = z.infer<typeof firaOptions>;

/** Guards the factors where the projected gradient vanishes. */
const TINY = 1e-8;

/**
 * GaLore's direction α P N plus S = φ∘(G − c P R), the residual rescaled as Adam rescales what is inside the subspace:
 * P (α N − c φ∘R) + φ∘G, as φ is one number for each row or column that P does not mix.
 */
function residualLift(space: Projection, o: FiraOptions): Lift {
  const taken = o.residual === 'code' ? o.scale : 1;
  // R keeps the side that is not projected: its rows or columns each have a factor.
  const axis = o.scaling === 'matrix' ? undefined : space.state.right ? 1 : 0;
  return {
    state: o.limit ? { norm: { shape: [] } } : {},
    apply({ gradient, low, inside }, state): ReturnType<Lift['apply']> {
      const known = squares(low, axis);
      const factor = div(sqrt(squares(inside, axis)), add(sqrt(known), TINY));
      if (!o.limit) return { direction: direction(factor), state: {} };
      const { ratio, norm } = limitNorm(residualNorm(gradient, known, factor), state.norm, o.growth);
      return { direction: direction(div(factor, ratio)), state: { norm } };

      function direction(rest: Tensor): Tensor {
        const within = sub(scale(inside, o.scale), mul(low, scale(rest, taken)));
        return add(space.up(within, state), mul(gradient, rest));
      }
    },
  };

  /** ‖S‖ without S: P is orthonormal and R its product with G, so that ⟨G, P R⟩ = ‖P R‖² = ‖R‖², row by row. */
  function residualNorm(gradient: Tensor, known: Tensor, factor: Tensor): Tensor {
    const left = sub(squares(gradient, axis), scale(known, taken * (2 - taken)));
    return sqrt(sum(mul(maximum(left, 0), mul(factor, factor))));
  }
}

/** Fira's direction, without bias correction and rate. */
export function withResidual(parameter: ParameterInfo, o: FiraOptions): Piece {
  const space = projection('fira', parameter, o);
  return inSubspace(space, scaleByMoments(o), residualLift(space, o));
}

function firaRule(parameter: ParameterInfo, o: FiraOptions): UpdateRule {
  const space = projection('fira', parameter, o);
  const tail = byRateThenDecay(decayOf(parameter, o.weightDecay), (step) => biasCorrection(o, step));
  const adam = { form: uncorrected(o), bits: bitsOf(space, o) };
  return subspaceRule(parameter, space, adam, residualLift(space, o), tail);
}

/** Fira (Chen et al. 2024, arXiv 2410.01623): GaLore that does not throw the residual gradient away. */
export const fira = defineOptimizer({
  name: 'fira',
  title: 'Fira: Can We Achieve Full-rank Training of LLMs Under Low-rank Constraint?',
  paper: 'Chen et al., NeurIPS 2025, arXiv 2410.01623',
  whenToChoose: 'GaLore’s memory from scratch, when no direction of the gradient may be lost.',
  stateFormula: '2 max(m, n) r + min(m, n) r + 1',
  options: firaOptions,
  notices: (parameters, o) => bitsNotices('fira', parameters, o),
  rules(parameters, o) {
    requireMatrices('fira', parameters, o.rank);
    return parameters.map((p) => (isMatrix(p) ? firaRule(p, o) : otherRule(p, o)));
  },
});
