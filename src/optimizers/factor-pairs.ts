import { RankineError } from '../errors.ts';
import type { ParameterInfo } from './optimizer.ts';
import type { Piece } from './pieces.ts';

/** The factors of one layer whose weight holds the term s B A. */
export interface FactorPair {
  /** r×n. */
  readonly A: ParameterInfo;
  /** m×r. */
  readonly B: ParameterInfo;
  readonly scale: number;
}

/**
 * Pairs the factors of each layer; `others` is everything else that trains.
 *
 * @throws RankineError `optimizers/no-factors` where no layer has such a pair
 */
export function factorPairs(
  method: string,
  parameters: readonly ParameterInfo[],
): { pairs: FactorPair[]; others: ParameterInfo[] } {
  const factors = parameters.filter((p) => p.scale !== undefined);
  const pairs = factors
    .filter((p) => p.factor === 'A')
    .map((A): FactorPair => {
      const B = factors.find((p) => p.factor === 'B' && p.layer!.name === A.layer!.name)!;
      return { A, B, scale: A.scale! };
    });
  if (pairs.length === 0) throw noFactors(method);
  return { pairs, others: parameters.filter((p) => p.scale === undefined) };
}

export function noFactors(method: string): RankineError {
  return new RankineError(
    'optimizers/no-factors',
    `${method} moves the factors of a low-rank change s B A, but this run trains none.`,
    'Take an adapter that has them: lora, rslora, dora, pissa, lora-ga; or the optimizer adamw.',
  );
}

/** A piece whose states are named with a letter behind: two of them live in one rule. */
export function suffixed(piece: Piece, letter: string): Piece {
  const renamed = <T>(record: Readonly<Record<string, T>>, rename: (name: string) => string) =>
    Object.fromEntries(Object.entries(record).map(([name, value]) => [rename(name), value]));
  const own = (name: string) => `${name}${letter}`;
  return {
    state: (parameter) => renamed(piece.state(parameter), own),
    apply(direction, state, context) {
      const mine = Object.entries(state).filter(([name]) => name.endsWith(letter));
      const inner = renamed(Object.fromEntries(mine), (name) => name.slice(0, -letter.length));
      const result = piece.apply(direction, inner, context);
      return { direction: result.direction, state: renamed(result.state, own) };
    },
  };
}
