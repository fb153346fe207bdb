import { RankineError } from '../errors.ts';
import { random } from '../linalg/index.ts';
import type { ExampleSource } from './sources.ts';

/**
 * A place in the endless sequence of examples: the epoch, how many rows of its order are done, and how many
 * examples of the row after them. Plain JSON; a batch is a pure function of source, options and place.
 */
export interface Position {
  readonly epoch: number;
  readonly index: number;
  readonly part: number;
}

export const START: Position = { epoch: 0, index: 0, part: 0 };

export interface OrderOptions {
  readonly seed: number;
  /** Default true. */
  readonly shuffle?: boolean;
  /** Number of epochs; default 1. Infinity for a trainer that counts steps. */
  readonly epochs?: number;
  readonly from?: Position;
}

/** The row numbers of an epoch: a permutation that depends on (seed, epoch) alone, or 0 … n − 1 without shuffling. */
export function epochOrder(rows: number, seed: number, epoch: number, shuffle = true): Int32Array {
  if (!shuffle) return Int32Array.from({ length: rows }, (_, i) => i);
  return random(seed, `data/order/${epoch}`).cursor().permutation(rows);
}

/** An example with the place after it. */
export interface Placed<E> {
  readonly example: E;
  readonly epoch: number;
  readonly next: Position;
}

/**
 * All examples from a place on, in order.
 * @throws RankineError `data/empty` where a whole epoch gives no example
 */
export async function* examplesFrom<E>(
  source: ExampleSource<E>,
  { seed, shuffle = true, epochs = 1, from = START }: OrderOptions,
): AsyncGenerator<Placed<E>> {
  let { index, part } = from;
  for (let epoch = from.epoch; epoch < epochs; epoch++) {
    const order = epochOrder(source.length, seed, epoch, shuffle);
    let any = index > 0 || part > 0;
    for (; index < order.length; index++, part = 0) {
      const examples = await source.at(order[index]);
      for (; part < examples.length; part++) {
        any = true;
        const last = part + 1 === examples.length;
        const next = last ? { epoch, index: index + 1, part: 0 } : { epoch, index, part: part + 1 };
        yield { example: examples[part], epoch, next };
      }
    }
    if (!any) throw noExamples(source.name);
    index = 0;
  }
}

function noExamples(name: string): RankineError {
  return new RankineError(
    'data/empty',
    `${name} gives no example to learn from.`,
    'Check that rows are there and that truncation leaves something to learn.',
  );
}
