import { RankineError } from '../errors.ts';
import { div, floor, mul, sub, type Tensor } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import type { Piece } from './pieces.ts';

/** `random` draws for each turn; in `rounds` everyone has one turn before anyone has the next. */
export type TurnOrder = 'random' | 'rounds' | 'ascending' | 'descending' | 'mirror';

/**
 * Which of `count` blocks have their turn: `active` of them for `gap` steps, then others.
 * @param seed draws the order `random`, uniform without replacement for each turn
 * @returns whether a block has its turn at step t, counted from 1
 * @throws RankineError `optimizers/mirror` for an odd number from two ends
 */
export function takeTurns(
  count: number,
  active: number,
  { gap, order, seed }: { gap: number; order: TurnOrder; seed: number },
): (block: number, step: number) => boolean {
  if (order === 'mirror' && active % 2 === 1)
    throw new RankineError(
      'optimizers/mirror',
      `The order mirror takes as many blocks from both ends, but ${active} of ${count} are active at a time.`,
      'Give a density that makes their number even, or another order.',
    );
  const line = inOrder(count, order);
  const round = (at: number) => random(seed, `optimizer/round/${at}`).cursor().permutation(count);
  const next = (place: number) =>
    order === 'rounds' ? round(Math.floor(place / count))[place % count] : line[place % count];
  let known = { turn: -1, blocks: new Set<number>() };
  return (block, step) => {
    const turn = Math.floor((step - 1) / gap);
    if (turn !== known.turn) {
      const drawn =
        order === 'random'
          ? random(seed, `optimizer/turn/${turn}`).cursor().permutation(count).subarray(0, active)
          : Array.from({ length: active }, (_, i) => next(turn * active + i));
      known = { turn, blocks: new Set(drawn) };
    }
    return known.blocks.has(block);
  };
}

function inOrder(count: number, order: TurnOrder): number[] {
  const line = Array.from({ length: count }, (_, i) => i);
  if (order === 'descending') return line.reverse();
  // First, last, second, last but one, …
  if (order === 'mirror') return line.map((i) => (i % 2 === 0 ? i / 2 : count - (i + 1) / 2));
  return line;
}

/** 1 at the first step of each turn of T steps, counted up to T. */
export function sinceTurn(step: Tensor, gap: number): Tensor {
  return sub(step, mul(floor(div(sub(step, 1), gap)), gap));
}

/** What `sinceTurn` gives, of a number. */
export function placeInTurn(step: number, gap: number): number {
  return ((step - 1) % gap) + 1;
}

/** A piece that counts its steps anew where a turn begins; its state stays. */
export function countEachTurn(inner: Piece, gap: number): Piece {
  return { ...inner, apply: (g, s, c) => inner.apply(g, s, { ...c, step: sinceTurn(c.step, gap) }) };
}

/** A piece that forgets its state, and counts its steps anew, where a turn begins: also where it has two turns running. */
export function anewEachTurn(inner: Piece, gap: number): Piece {
  return {
    ...countEachTurn(inner, gap),
    prepare({ step, state }) {
      if ((step - 1) % gap === 0) for (const array of Object.values(state)) array.data.fill(0 as never);
    },
  };
}
