import { RankineError } from '../errors.ts';
import { random } from '../linalg/index.ts';

export type TurnOrder = 'random' | 'ascending' | 'descending' | 'mirror';

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
  let known = { turn: -1, blocks: new Set<number>() };
  return (block, step) => {
    const turn = Math.floor((step - 1) / gap);
    if (turn !== known.turn) {
      const drawn =
        order === 'random'
          ? random(seed, `optimizer/turn/${turn}`).cursor().permutation(count).subarray(0, active)
          : Array.from({ length: active }, (_, i) => line[(turn * active + i) % count]);
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
