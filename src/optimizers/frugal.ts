import { z } from 'zod';
import { add, mul, scale, sign, sizeOf, sub, type Tensor } from '../graph/index.ts';
import { adam8Rule, wideNotices } from './adam-8bit.ts';
import { eachTurn, torchAdam } from './adam-forms.ts';
import { adamwPiece, decayOf } from './adamw.ts';
import { inEightBits } from './eight-bit.ts';
import { adam8OnHost } from './eight-bit-host.ts';
import { bitsOf, galoreOptions } from './galore.ts';
import { defineOptimizer, type ParameterInfo, type UpdateRule } from './optimizer.ts';
import { byRate, chain, momentum, type Piece, pieceRule, scaleByAdam, scaleByLion } from './pieces.ts';
import { isMatrix, requireMatrices } from './select.ts';
import { type Split, type SplitOptions, splitOf } from './split.ts';
import { inSubspace, type Lift, type Subspace, subspaceRule } from './subspace.ts';
import { anewEachTurn, countEachTurn, placeInTurn, takeTurns } from './turns.ts';

const share = (about: string, by: number) => z.number().min(0).max(0.999999).default(by).describe(about);

const { bits, smallest } = galoreOptions.shape;

const fields = z.strictObject({
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
  bits,
  smallest,
});

export const frugalOptions = fields.refine((o) => o.bits === 32 || o.stateful === 'adam', {
  path: ['bits'],
  error: '8 is for the moments of stateful: adam',
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

type PartOptions = FrugalOptions & SplitOptions;

/** State for a part of each tensor, none for the rest of it. */
function splitRule(parameter: ParameterInfo, o: PartOptions): UpdateRule {
  const split = splitOf(parameter, o);
  if (!split) return pieceRule(parameter, freePiece(parameter, o));
  const [space, lift, tail] = [anewSplit(split, o), liftWithRest(split, o), rated(parameter, o)];
  if (o.stateful === 'adam') {
    const form = o.reset ? eachTurn(torchAdam(o), o.gap) : torchAdam(o);
    return subspaceRule(parameter, space, { form, bits: bitsOf(split, o) }, lift, tail);
  }
  const inner = o.reset ? countEachTurn(withState(o), o.gap) : withState(o);
  return pieceRule(parameter, chain(inSubspace(space, inner, lift), tail));
}

/** The split whose part forgets its moments where it moves. */
function anewSplit(split: Split, { reset, gap }: FrugalOptions): Subspace {
  return {
    ...split,
    prepare(inputs) {
      split.prepare(inputs);
      if (!reset || (inputs.step - 1) % gap !== 0) return;
      for (const [name, array] of Object.entries(inputs.state))
        if (!(name in split.state)) array.data.fill(0 as never);
    },
  };
}

/** The part's direction and, beside it, the step of the rest. */
function liftWithRest(split: Split, o: FrugalOptions): Lift {
  return {
    state: {},
    apply({ gradient, low, inside }, state) {
      // Rounding leaves a residual where there is none, and its sign would be a full step.
      const rest = split.whole ? undefined : withoutState(sub(gradient, split.up(low, state)), o);
      const lifted = split.up(inside, state);
      return { direction: rest ? add(lifted, rest) : lifted, state: {} };
    },
  };
}

/** −η (c u + λ W), c the matrices' own factor. */
function rated(parameter: ParameterInfo, o: FrugalOptions): Piece {
  const factor: Piece = {
    state: () => ({}),
    apply: (u) => ({ direction: o.matrixScale === 1 ? u : scale(u, o.matrixScale), state: {} }),
  };
  return chain(factor, byRate(decayOf(parameter, o.weightDecay)));
}

function unitOf(p: ParameterInfo, { unit }: FrugalOptions): string {
  return unit === 'layer' ? `block ${p.layer?.block}` : p.name;
}

/** What takes turns (split block), and how many have theirs at a time. */
function turnsOf(matrices: readonly ParameterInfo[], o: FrugalOptions) {
  const units = [...new Set(matrices.map((p) => unitOf(p, o)))];
  return { units, active: Math.round(o.density * units.length) };
}

/** Whole matrices (or layers of them) that take turns. */
function blockRules(matrices: readonly ParameterInfo[], o: FrugalOptions, seed: number): UpdateRule[] {
  const { units, active } = turnsOf(matrices, o);
  const hasTurn = takeTurns(units.length, active, { gap: o.gap, order: o.order, seed });
  return matrices.map((p) => {
    const free = pieceRule(p, freePiece(p, o));
    if (active === 0) return free;
    const unit = units.indexOf(unitOf(p, o));
    return { ...turnRule(p, o), idle: { at: (step) => !hasTurn(unit, step), update: free.update } };
  });
}

/** A matrix in its turn. */
function turnRule(p: ParameterInfo, o: FrugalOptions): UpdateRule {
  const narrow = bitsOf(p, o) === 8;
  const inner = narrow ? inEightBits(withState(o), { m: true, v: false }) : withState(o);
  const rule = pieceRule(p, chain(anewEachTurn(inner, o.gap), rated(p, o)));
  if (!narrow) return rule;
  const own = { ...o, form: 'torch', decay: decayOf(p, o.weightDecay), factor: o.matrixScale } as const;
  return {
    ...rule,
    host: { update: (inputs) => adam8OnHost({ ...inputs, step: placeInTurn(inputs.step, o.gap) }, own) },
  };
}

/** AdamW for what is no block matrix. */
function otherRule(p: ParameterInfo, o: FrugalOptions): UpdateRule {
  if (o.bits === 8) return adam8Rule(p, { ...o, embeddings: '32-bit' });
  return pieceRule(p, adamwPiece({ ...o, form: 'torch' }, p));
}

/** Which moments keep 32 bits although 8 are asked for. */
function notices(parameters: readonly ParameterInfo[], o: FrugalOptions): string[] {
  if (o.bits === 32) return [];
  const { split } = o;
  const { active } = turnsOf(parameters.filter(isMatrix), o);
  const size = (p: ParameterInfo) => {
    if (!isMatrix(p)) return sizeOf(p.shape);
    if (split === 'block') return active > 0 ? sizeOf(p.shape) : 0;
    return sizeOf(splitOf(p, { ...o, split })?.shape ?? [0]);
  };
  const held = parameters.filter((p) => size(p) > 0);
  return wideNotices('frugal', held, { ...o, embeddings: '32-bit' }, size);
}

/** FRUGAL (Zmushko et al. 2025, arXiv 2411.07837): state for a moving part of the gradient, signSGD for the rest. */
export const frugal = defineOptimizer({
  name: 'frugal',
  title: 'FRUGAL: Memory-Efficient Optimization by Reducing State Overhead for Scalable Training',
  paper: 'Zmushko et al., ICML 2025, arXiv 2411.07837',
  whenToChoose: 'All weights on a fixed budget of state, without decompositions; every step is full-rank.',
  stateFormula: '2 ρ m n on average; with 8 bits 2 ρ m n bytes and 1/64 more',
  options: frugalOptions,
  notices,
  rules(parameters, o, seed) {
    requireMatrices('frugal', parameters);
    const { split } = o;
    const matrices = parameters.filter(isMatrix);
    const regular = parameters.filter((p) => !isMatrix(p)).map((p) => otherRule(p, o));
    if (split === 'block') return [...blockRules(matrices, o, seed), ...regular];
    return [...matrices.map((p) => splitRule(p, { ...o, split })), ...regular];
  },
});
