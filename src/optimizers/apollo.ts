import { z } from 'zod';
import { add, div, mul, type NDArray, scale, sqrt } from '../graph/index.ts';
import { decayOf } from './adamw.ts';
import { hfAdamOptions, hfAdamw } from './galore.ts';
import { defineOptimizer, type ParameterInfo, type PrepareInputs, type StateSpec } from './optimizer.ts';
import {
  biasCorrection,
  byRateThenDecay,
  chain,
  limitGrowth,
  type Piece,
  perParameter,
  scaleByMoments,
  squares,
} from './pieces.ts';
import { projection } from './projection.ts';
import { isMatrix, requireMatrices } from './select.ts';

export const apolloOptions = hfAdamOptions.extend({
  rank: z.number().int().min(1).default(128).describe('dimensions of the random projection, r'),
  gap: z.number().int().min(1).default(200).describe('steps between new projections, T'),
  scale: z.number().positive().default(1).describe('its root multiplies the step of block matrices'),
  scaling: z
    .enum(['channel', 'tensor'])
    .default('channel')
    .describe('a factor for each row or column of the long side, or one for the matrix'),
  basis: z.enum(['random', 'svd']).default('random').describe('how the projection is found'),
  limit: z.boolean().default(true).describe('whether the growth of the step is limited'),
  growth: z.number().min(1).default(1.01).describe('most that its norm may grow in a step'),
});

export type ApolloOptions = z.infer<typeof apolloOptions>;

/** Draws a projection: normal numbers of variance 1/r. */
export type Draw = (basis: NDArray, inputs: PrepareInputs) => void;

const drawNormal =
  (rank: number): Draw =>
  (basis, { step, random }) => {
    const data = basis.data as Float32Array;
    random(`basis/${step}`).fillNormal(data);
    for (let i = 0; i < data.length; i++) data[i] /= Math.sqrt(rank);
  };

/** Bases that are drawn instead of decomposed. */
function drawn(state: Readonly<Record<string, StateSpec>>): Record<string, StateSpec> {
  return Object.fromEntries(Object.entries(state).map(([name, { shape }]) => [name, { shape }]));
}

/** Guards the factors where the projected gradient vanishes. */
const TINY = 1e-8;

/** The gradient itself, each channel by the factor that Adam gives it in the projection. */
export function apolloPiece(parameter: ParameterInfo, o: ApolloOptions, draw = drawNormal(o.rank)): Piece {
  const { rank, gap } = o;
  const own = { rank, gap, scale: 1, projection: 'std', decomposition: 'exact' } as const;
  const space = projection('apollo', parameter, own);
  const moments = scaleByMoments(o);
  const limiter = o.limit ? limitGrowth(o.growth) : chain();
  const axis = o.scaling === 'tensor' ? undefined : space.state.right ? 1 : 0;
  const bases = o.basis === 'svd' ? space.state : drawn(space.state);
  const scaled: Piece = {
    state: (p) => ({ ...moments.state({ ...p, shape: space.shape }), ...bases, ...limiter.state(p) }),
    apply(g, state, context) {
      const low = space.down(g, state);
      const inside = moments.apply(low, state, context);
      const factor = div(sqrt(squares(inside.direction, axis)), add(sqrt(squares(low, axis)), TINY));
      const limited = limiter.apply(mul(g, factor), state, context);
      return {
        direction: scale(limited.direction, Math.sqrt(o.scale)),
        state: { ...inside.state, ...limited.state },
      };
    },
    prepare(inputs) {
      if (o.basis === 'svd') space.prepare(inputs);
      else if ((inputs.step - 1) % gap === 0) draw(inputs.state.left ?? inputs.state.right, inputs);
    },
  };
  return chain(
    scaled,
    byRateThenDecay(decayOf(parameter, o.weightDecay), (step) => biasCorrection(o, step)),
  );
}

/** APOLLO (Zhu et al. 2025, arXiv 2412.05270): AdamW's steps from SGD's memory, by factors learnt in a random projection. */
export const apollo = defineOptimizer({
  name: 'apollo',
  title: 'APOLLO: SGD-like Memory, AdamW-level Performance',
  paper: 'Zhu et al., MLSys 2025, arXiv 2412.05270',
  whenToChoose: 'GaLore’s memory without decompositions, no direction of the gradient lost.',
  stateFormula: '2 max(m, n) r + min(m, n) r + 1',
  options: apolloOptions,
  rules(parameters, o) {
    requireMatrices('apollo', parameters, o.rank);
    return perParameter(parameters, (p) => (isMatrix(p) ? apolloPiece(p, o) : hfAdamw(p, o)));
  },
});
