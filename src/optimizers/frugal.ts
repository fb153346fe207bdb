import { z } from 'zod';
import { add, mul, scale, sign, sub, type Tensor } from '../graph/index.ts';
import { adamwPiece, decayOf } from './adamw.ts';
import { defineOptimizer, type ParameterInfo, type UpdateRule } from './optimizer.ts';
import { byRate, chain, momentum, type Piece, pieceRule, scaleByAdam, scaleByLion } from './pieces.ts';
import { isMatrix, requireMatrices } from './select.ts';
import { splitOf } from './split.ts';
import { anewEachTurn, sinceTurn, takeTurns } from './turns.ts';

const share = (about: string, by: number) => z.number().min(0).max(0.999999).default(by).describe(about);

export const frugalOptions = z.strictObject({
  density: z.number().min(0).max(1).default(0.25).describe('share of the block matrices that has state, ρ'),
  gap: z.number().int().min(1).default(200).describe('steps until the part with state moves, T'),
  split: z
    .enum(['block', 'columns', 'rows', 'entries', 'svd', 'random', 'permutation'])
    .default('block')
    .describe('what has state: whole matrices, columns, rows, single entries or a subspace'),
  order: z
    .enum(['random', 'ascending', 'descending', 'mirror'])
    .default('random')
    .describe('whose turn is next (split block)'),
  unit: z.enum(['matrix', 'layer']).default('matrix').describe('what takes turns (split block)'),
  projection: z
    .enum(['std', 'reverse_std', 'right', 'left', 'full'])
    .default('std')
    .describe('side of the subspace (splits svd, random, permutation)'),
  reset: z.boolean().default(true).describe('start the moments anew where the part moves'),
  stateful: z.enum(['adam', 'lion', 'momentum']).default('adam').describe('how the part with state moves'),
  stateless: z.enum(['sign', 'sgd', 'none']).default('sign').describe('how the rest moves'),
  statelessScale: z.number().min(0).default(1).describe('multiplies the rate of the rest'),
  matrixScale: z.number().positive().default(1).describe('multiplies the rate of block matrices'),
  beta1: share('decay of the first moment (momentum: its share)', 0.9),
  beta2: share('decay of the second moment', 0.999),
  dampening: z.number().min(0).max(1).default(0).describe('of momentum'),
  epsilon: z.number().positive().default(1e-8).describe('guards the division'),
  weightDecay: z.number().min(0).default(0).describe('decoupled weight decay, by the unscaled rate'),
});

export type FrugalOptions = z.infer<typeof frugalOptions>;

function withState({ stateful, beta1, beta2, epsilon, dampening }: FrugalOptions): Piece {
  if (stateful === 'lion') return scaleByLion(beta1, beta2);
  if (stateful === 'momentum') return momentum(beta1, { dampening, nesterov: false });
  return scaleByAdam({ beta1, beta2, epsilon, form: 'torch' });
}

function withoutState(g: Tensor, o: FrugalOptions): Tensor | undefined {
  if (o.stateless === 'none' || o.statelessScale === 0) return undefined;
  return scale(o.stateless === 'sign' ? sign(g) : g, o.statelessScale);
}

/** No state at all. */
function freePiece(parameter: ParameterInfo, o: FrugalOptions): Piece {
  const free: Piece = {
    state: () => ({}),
    apply: (g) => ({ direction: withoutState(g, o) ?? mul(g, 0), state: {} }),
  };
  return chain(free, rated(parameter, o));
}

/** State for a part of each tensor, none for the rest of it. */
function splitPiece(
  parameter: ParameterInfo,
  o: FrugalOptions & { split: Exclude<FrugalOptions['split'], 'block'> },
) {
  const split = splitOf(parameter, o);
  if (!split) return freePiece(parameter, o);
  const inner = withState(o);
  const specs = inner.state({ ...parameter, shape: split.shape });
  const parts: Piece = {
    state: () => ({ ...specs, ...split.state }),
    apply(g, s, c) {
      const part = split.down(g, s);
      const step = o.reset ? sinceTurn(c.step, o.gap) : c.step;
      const moved = inner.apply(part, s, { ...c, step });
      // Rounding leaves a residual where there is none, and its sign would be a full step.
      const rest = split.whole ? undefined : withoutState(sub(g, split.up(part, s)), o);
      const lifted = split.up(moved.direction, s);
      return { direction: rest ? add(lifted, rest) : lifted, state: moved.state };
    },
    prepare(inputs) {
      split.prepare(inputs);
      if (o.reset && (inputs.step - 1) % o.gap === 0)
        for (const name of Object.keys(specs)) inputs.state[name].data.fill(0 as never);
    },
  };
  return chain(parts, rated(parameter, o));
}

/** −η (c u + λ W), c the matrices' own factor. */
function rated(parameter: ParameterInfo, o: FrugalOptions): Piece {
  const factor: Piece = {
    state: () => ({}),
    apply: (u) => ({ direction: o.matrixScale === 1 ? u : scale(u, o.matrixScale), state: {} }),
  };
  return chain(factor, byRate(decayOf(parameter, o.weightDecay)));
}

/** Whole matrices (or layers of them) that take turns. */
function blockRules(matrices: readonly ParameterInfo[], o: FrugalOptions, seed: number): UpdateRule[] {
  const unitOf = (p: ParameterInfo) => (o.unit === 'layer' ? `block ${p.layer?.block}` : p.name);
  const units = [...new Set(matrices.map(unitOf))];
  const active = Math.round(o.density * units.length);
  const hasTurn = takeTurns(units.length, active, { gap: o.gap, order: o.order, seed });
  return matrices.map((p) => {
    const free = pieceRule(p, freePiece(p, o));
    if (active === 0) return free;
    const full = pieceRule(p, chain(anewEachTurn(withState(o), o.gap), rated(p, o)));
    const unit = units.indexOf(unitOf(p));
    return { ...full, idle: { at: (step) => !hasTurn(unit, step), update: free.update } };
  });
}

/** FRUGAL (Zmushko et al. 2025, arXiv 2411.07837): state for a moving part of the gradient, signSGD for the rest. */
export const frugal = defineOptimizer({
  name: 'frugal',
  title: 'FRUGAL: Memory-Efficient Optimization by Reducing State Overhead for Scalable Training',
  paper: 'Zmushko et al., ICML 2025, arXiv 2411.07837',
  whenToChoose: 'All weights on a fixed budget of state, without decompositions; every step is full-rank.',
  stateFormula: '2 ρ m n on average',
  options: frugalOptions,
  rules(parameters, o, seed) {
    requireMatrices('frugal', parameters);
    const { split } = o;
    const matrices = parameters.filter(isMatrix);
    const regular = parameters
      .filter((p) => !isMatrix(p))
      .map((p) => pieceRule(p, adamwPiece({ ...o, form: 'torch' }, p)));
    if (split === 'block') return [...blockRules(matrices, o, seed), ...regular];
    return [...matrices.map((p) => pieceRule(p, splitPiece(p, { ...o, split }))), ...regular];
  },
});
