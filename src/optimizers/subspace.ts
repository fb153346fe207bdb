import { scale, sub, type Tensor } from '../graph/index.ts';
import type { AdamForm } from './adam-forms.ts';
import { ruleAround } from './around-adams.ts';
import type { ParameterInfo, StateSpec, UpdateRule } from './optimizer.ts';
import type { Piece, PieceContext } from './pieces.ts';
import type { Projection } from './projection.ts';

/** Where a gradient has coordinates: a projection, or chosen elements. */
export interface Subspace extends Pick<Projection, 'state' | 'down' | 'up' | 'prepare'> {
  /** Of the coordinates. */
  readonly shape: readonly number[];
}

/** What becomes of a gradient G, its coordinates R in a subspace and Adam's direction there. */
export interface Lift {
  readonly state: Readonly<Record<string, StateSpec>>;
  apply(
    parts: { gradient: Tensor; low: Tensor; inside: Tensor },
    state: Readonly<Record<string, Tensor>>,
    context: PieceContext,
  ): { direction: Tensor; state: Readonly<Record<string, Tensor>> };
}

/** GaLore's direction: Adam's, back in the full space and times α. */
export function liftBack(space: Subspace, factor: number): Lift {
  return {
    state: {},
    apply: ({ inside }, state) => ({ direction: scale(space.up(inside, state), factor), state: {} }),
  };
}

/** A piece that works on coordinates, and the lift of what it gives. */
export function inSubspace(space: Subspace, inner: Piece, lift: Lift): Piece {
  return {
    state: (p) => ({ ...inner.state({ ...p, shape: space.shape }), ...space.state, ...lift.state }),
    apply(gradient, state, context) {
      const low = space.down(gradient, state);
      const result = inner.apply(low, state, context);
      const lifted = lift.apply({ gradient, low, inside: result.direction }, state, context);
      return { direction: lifted.direction, state: { ...result.state, ...lifted.state } };
    },
    prepare: space.prepare,
  };
}

/** A weight moved by Adam in a subspace; `tail` makes a step of the direction. */
export function subspaceRule(
  parameter: ParameterInfo,
  space: Subspace,
  adam: { readonly form: AdamForm; readonly bits: 8 | 32 },
  lift: Lift,
  tail: Piece,
): UpdateRule {
  return ruleAround(
    {
      parameters: [parameter],
      state: { ...space.state, ...lift.state },
      before: ({ gradients: [g], state }) => ({ low: space.down(g, state) }),
      after({ parameters: [weight], gradients: [gradient], state, rate, step }, { low }, { low: inside }) {
        const context: PieceContext = { parameter: weight, rate, step };
        const lifted = lift.apply({ gradient, low, inside }, state, context);
        const { direction } = tail.apply(lifted.direction, {}, context);
        return { parameters: [sub(weight, direction)], state: lifted.state };
      },
      prepare: space.prepare,
    },
    { low: { ...adam, shape: space.shape } },
  );
}
