import {
  input,
  mul,
  type NDArray,
  type Program,
  program,
  scale,
  sub,
  type Tensor,
  zeros,
} from '../graph/index.ts';
import { inEightBits } from './eight-bit.ts';
import { adam8 } from './eight-bit-host.ts';
import type { HostInputs, ParameterInfo, StateSpec, UpdateRule } from './optimizer.ts';
import { chain, correctBias, type Piece, type PieceContext, pieceRule, scaleByMoments } from './pieces.ts';
import type { Projection } from './projection.ts';

/** What becomes of a gradient G, its coordinates R in a subspace and Adam's N = M/(√V + ε) there. */
export interface Lift {
  readonly state: Readonly<Record<string, StateSpec>>;
  apply(
    parts: { gradient: Tensor; low: Tensor; inside: Tensor },
    state: Readonly<Record<string, Tensor>>,
    context: PieceContext,
  ): { direction: Tensor; state: Readonly<Record<string, Tensor>> };
}

export interface Moments {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

/** GaLore's direction: Adam's, with its bias corrected, back in the full space and times α. */
export function liftBack(space: Projection, o: Moments, factor: number): Lift {
  const corrected = correctBias(o);
  return {
    state: {},
    apply({ inside }, state, context) {
      const { direction } = corrected.apply(inside, {}, context);
      return { direction: scale(space.up(direction, state), factor), state: {} };
    },
  };
}

/** The lift as a piece, with moments in 32 or in 8 bits. */
export function inSubspace(space: Projection, o: Moments, lift: Lift, bits: 8 | 32 = 32): Piece {
  const wide = scaleByMoments(o);
  const moments = bits === 8 ? inEightBits(wide, { m: true, v: false }) : wide;
  return {
    state: (p) => ({ ...moments.state({ ...p, shape: space.shape }), ...space.state, ...lift.state }),
    apply(gradient, state, context) {
      const low = space.down(gradient, state);
      const result = moments.apply(low, state, context);
      const lifted = lift.apply({ gradient, low, inside: result.direction }, state, context);
      return { direction: lifted.direction, state: { ...result.state, ...lifted.state } };
    },
    prepare: space.prepare,
  };
}

/**
 * A weight moved by Adam in a subspace on 8-bit moments; `tail` makes a step of the direction. On a CPU the moments are a
 * kernel's work, between a program that projects and one that lifts.
 */
export function narrowSubspaceRule(
  parameter: ParameterInfo,
  space: Projection,
  o: Moments,
  lift: Lift,
  tail: Piece,
): UpdateRule {
  const rule = pieceRule(parameter, chain(inSubspace(space, o, lift, 8), tail));
  let programs: ReturnType<typeof trace> | undefined;
  return {
    ...rule,
    async host({ state, rate, step, clip, compute, ...inputs }: HostInputs) {
      programs ??= trace(parameter, space, lift, tail);
      const [weight, gradient] = [inputs.parameters[0], inputs.gradients[0]];
      const arrays: Record<string, NDArray> = { ...state, gradient };
      for (const [name, value] of Object.entries({ rate, step, clip })) arrays[name] = single(value);
      const { low } = await compute(programs.down, arrays);
      const inside = zeros(space.shape);
      // From zero, one step of −1 against M/(√V + ε).
      adam8(inside, low, state, { ...o, clip: 1, step: -1, root: 1, decay: 0 });
      await compute(programs.up, { ...arrays, low, inside, weight });
    },
  };
}

function single(value: number): NDArray {
  const array = zeros([]);
  array.data[0] = value;
  return array;
}

function trace(
  { shape }: ParameterInfo,
  space: Projection,
  lift: Lift,
  tail: Piece,
): { down: Program; up: Program } {
  const held = Object.entries({ ...space.state, ...lift.state });
  const state = Object.fromEntries(held.map(([name, spec]) => [name, input(name, spec.shape, spec.dtype)]));
  const [raw, clip] = [input('gradient', shape), input('clip', [])];
  const [low, inside] = [input('low', space.shape), input('inside', space.shape)];
  const parameter = input('weight', shape);
  const context: PieceContext = { parameter, rate: input('rate', []), step: input('step', []) };
  const lifted = lift.apply({ gradient: mul(raw, clip), low, inside }, state, context);
  const { direction } = tail.apply(lifted.direction, {}, context);
  return {
    down: program({ low: mul(space.down(raw, state), clip) }),
    up: program({ weight: sub(parameter, direction), ...lifted.state }),
  };
}
