import {
  add,
  div,
  greater,
  maximum,
  mul,
  pow,
  sign,
  sqrt,
  sub,
  sum,
  type Tensor,
  where,
} from '../graph/index.ts';
import type { ParameterInfo, PrepareInputs, StateSpec, UpdateRule } from './optimizer.ts';

/** What a piece sees beside the direction that it transforms. */
export interface PieceContext {
  readonly parameter: Tensor;
  readonly rate: Tensor;
  readonly step: Tensor;
}

type State = Readonly<Record<string, Tensor>>;

/** A transformation of the direction of descent, with state of its own. */
export interface Piece {
  state(parameter: ParameterInfo): Readonly<Record<string, StateSpec>>;
  apply(direction: Tensor, state: State, context: PieceContext): { direction: Tensor; state: State };
  /** Work on the host before an update; sees the gradient as it came, not the direction. */
  prepare?(inputs: PrepareInputs): void;
}

const stateless = (apply: (u: Tensor, c: PieceContext) => Tensor): Piece => ({
  state: () => ({}),
  apply: (u, _, c) => ({ direction: apply(u, c), state: {} }),
});

/** Pieces one after the other; their states' names must differ. */
export function chain(...pieces: readonly Piece[]): Piece {
  const prepared = pieces.filter((piece) => piece.prepare);
  return {
    ...(prepared.length > 0 && {
      prepare(inputs) {
        for (const piece of prepared) piece.prepare!(inputs);
      },
    }),
    state: (p) => Object.assign({}, ...pieces.map((piece) => piece.state(p))),
    apply(start, state, c) {
      let direction = start;
      const next: Record<string, Tensor> = {};
      for (const piece of pieces) {
        const result = piece.apply(direction, state, c);
        direction = result.direction;
        Object.assign(next, result.state);
      }
      return { direction, state: next };
    },
  };
}

/** Σ x², over an axis that stays with length 1, or over all. */
export function squares(x: Tensor, axis?: number): Tensor {
  return sum(mul(x, x), axis, axis !== undefined);
}

/** Exponential average: β old + (1 − β) fresh. */
export function average(old: Tensor, fresh: Tensor, beta: number): Tensor {
  return add(mul(old, beta), mul(fresh, 1 - beta));
}

const correction = (beta: number, step: Tensor) => sub(1, pow(beta, step));

export interface AdamOptions {
  beta1: number;
  beta2: number;
  epsilon: number;
  /** Where ε stands: `torch` M̂/(√V̂ + ε); `hf` √(1−β₂ᵗ)/(1−β₁ᵗ) · M/(√V + ε). */
  form: 'torch' | 'hf';
}

/** M/(√V + ε) with Adam's averages, not corrected for their start at zero. */
export function scaleByMoments({ beta1, beta2, epsilon }: Omit<AdamOptions, 'form'>): Piece {
  return {
    state: ({ shape }) => ({ m: { shape, moment: 1 }, v: { shape, moment: 2 } }),
    apply(g, { m, v }) {
      const first = average(m, g, beta1);
      const second = average(v, mul(g, g), beta2);
      return { direction: div(first, add(sqrt(second), epsilon)), state: { m: first, v: second } };
    },
  };
}

/** √(1−β₂ᵗ)/(1−β₁ᵗ). */
export function biasCorrection({ beta1, beta2 }: Pick<AdamOptions, 'beta1' | 'beta2'>, step: Tensor): Tensor {
  return div(sqrt(correction(beta2, step)), correction(beta1, step));
}

/** Adam's direction (Kingma and Ba 2015, arXiv 1412.6980), without the rate. */
export function scaleByAdam(o: AdamOptions): Piece {
  if (o.form === 'hf')
    return chain(
      scaleByMoments(o),
      stateless((u, { step }) => mul(u, biasCorrection(o, step))),
    );
  const { beta1, beta2, epsilon } = o;
  return {
    state: ({ shape }) => ({ m: { shape, moment: 1 }, v: { shape, moment: 2 } }),
    apply(g, { m, v }, { step }) {
      const first = average(m, g, beta1);
      const second = average(v, mul(g, g), beta2);
      // Reciprocals of the single numbers: one division an element instead of three.
      const root = mul(sqrt(second), div(1, sqrt(correction(beta2, step))));
      const direction = div(mul(first, div(1, correction(beta1, step))), add(root, epsilon));
      return { direction, state: { m: first, v: second } };
    },
  };
}

/**
 * Keeps the direction's norm from growing by more than a factor γ a step (Fira, Chen et al. 2024, arXiv 2410.01623);
 * it may fall freely. The first norm that is not zero is taken as it comes.
 */
export function limitGrowth(gamma: number): Piece {
  return {
    state: () => ({ norm: { shape: [] } }),
    apply(u, { norm: old }) {
      const { ratio, norm } = limitNorm(sqrt(sum(mul(u, u))), old, gamma);
      return { direction: div(u, ratio), state: { norm } };
    },
  };
}

/**
 * What {@link limitGrowth} does to a norm.
 * @returns what to divide by, and the norm to remember
 */
export function limitNorm(size: Tensor, old: Tensor, gamma: number): { ratio: Tensor; norm: Tensor } {
  const over = div(maximum(div(size, add(old, 1e-8)), gamma), gamma);
  const ratio = where(greater(old, 0), over, 1);
  const kept = div(size, ratio);
  // A norm of zero, once stored, would hold all later ones down.
  return { ratio, norm: where(greater(kept, 0), kept, old) };
}

/** Heavy-ball or Nesterov momentum as torch.optim.SGD: the first step takes the gradient undamped. */
export function momentum(mu: number, options: { dampening: number; nesterov: boolean }): Piece {
  return {
    state: ({ shape }) => ({ momentum: { shape, moment: 1 } }),
    apply(g, { momentum: old }, { step }) {
      // On step 1 the buffer is the gradient itself, whatever the dampening.
      const damp = options.dampening === 0 ? g : mul(g, sub(1, mul(firstStep(step), options.dampening)));
      const buffer = add(mul(old, mu), damp);
      const direction = options.nesterov ? add(g, mul(buffer, mu)) : buffer;
      return { direction, state: { momentum: buffer } };
    },
  };
}

/** 0 at step 1, 1 later. */
function firstStep(step: Tensor): Tensor {
  return sign(sub(step, 1));
}

/** Lion's direction (Chen et al. 2023, arXiv 2302.06675): the sign of a short average; a longer one is kept. */
export function scaleByLion(beta1: number, beta2: number): Piece {
  return {
    state: ({ shape }) => ({ m: { shape, moment: 1 } }),
    apply: (g, { m }) => ({ direction: sign(average(m, g, beta1)), state: { m: average(m, g, beta2) } }),
  };
}

/** The sign of the direction; 0 stays 0. */
export const bySign: Piece = stateless((u) => sign(u));

/** L2 penalty inside the gradient (torch.optim.SGD's weight_decay). */
export function addWeightDecay(decay: number): Piece {
  return stateless((u, { parameter }) => (decay === 0 ? u : add(u, mul(parameter, decay))));
}

/** Multiplies by η and, decoupled, decays the weight as it was before the step. */
export function byRate(decay = 0, factor = 1): Piece {
  return stateless((u, { parameter, rate }) => {
    const eta = factor === 1 ? rate : mul(rate, factor);
    return mul(decay === 0 ? u : add(u, mul(parameter, decay)), eta);
  });
}

/**
 * Multiplies by η; decays the weight as it is after the step.
 * @param factor a number that multiplies the step but not the decay
 */
export function byRateThenDecay(decay: number, factor?: (step: Tensor) => Tensor): Piece {
  return stateless((u, { parameter, rate, step }) => {
    const moved = mul(u, factor ? mul(rate, factor(step)) : rate);
    return decay === 0 ? moved : add(moved, mul(sub(parameter, moved), mul(rate, decay)));
  });
}

/** One rule a parameter: p ← p − piece(g). */
export function perParameter(
  parameters: readonly ParameterInfo[],
  piece: (p: ParameterInfo) => Piece,
): UpdateRule[] {
  return parameters.map((info) => pieceRule(info, piece(info)));
}

/** p ← p − piece(g) for one parameter. */
export function pieceRule(info: ParameterInfo, piece: Piece): UpdateRule {
  return {
    parameters: [info],
    state: piece.state(info),
    update({ parameters: [parameter], gradients: [g], state, rate, step }) {
      const { direction, state: next } = piece.apply(g, state, { parameter, rate, step });
      return { parameters: [sub(parameter, direction)], state: next };
    },
    ...(piece.prepare && { prepare: piece.prepare }),
  };
}
