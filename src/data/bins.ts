import { RankineError } from '../errors.ts';
import { examplesFrom, type OrderOptions, type Position } from './order.ts';
import type { ExampleSource } from './sources.ts';

/** Collects the examples of one batch. */
export interface Bin<E> {
  /** Takes the example, or says false where it has no room. */
  add(example: E): boolean;
  /** False where a row of the batch is still empty. */
  readonly full: boolean;
}

/** `pad` fills a short last batch of an epoch with ignored rows; `drop` leaves it out. */
export type LastBatch = 'pad' | 'drop';

export interface FilledBin<B> {
  readonly bin: B;
  readonly epoch: number;
  /** Where the next batch begins. */
  readonly next: Position;
}

/**
 * Fills bins with examples in order. A bin is closed by the first example that it cannot take or by the end of the
 * epoch, so it depends on where it began and on nothing before: a resumed run makes the same ones.
 */
export async function* fillBins<E, B extends Bin<E>>(
  source: ExampleSource<E>,
  order: OrderOptions,
  last: LastBatch,
  open: () => B,
): AsyncGenerator<FilledBin<B>> {
  let current: FilledBin<B> | undefined;
  let fromStart = !order.from || (order.from.index === 0 && order.from.part === 0);
  let yielded = false;
  for await (const { example, epoch, next } of examplesFrom(source, order)) {
    if (current && current.epoch !== epoch) {
      if (last === 'pad' || current.bin.full) yield current;
      else if (fromStart && !yielded) throw tooFew(source.name);
      current = undefined;
      fromStart = true;
      yielded = false;
    }
    if (current && !current.bin.add(example)) {
      yield current;
      yielded = true;
      current = undefined;
    }
    if (current) current = { ...current, next };
    else {
      current = { bin: open(), epoch, next };
      current.bin.add(example);
    }
  }
  if (!current) return;
  if (last === 'pad' || current.bin.full) yield current;
  else if (fromStart && !yielded) throw tooFew(source.name);
}

function tooFew(name: string): RankineError {
  return new RankineError(
    'data/too-few',
    `${name} has too few examples for a single full batch.`,
    "Lower the batch size, or keep the short last batch with last: 'pad'.",
  );
}

/** A bin of at most `size` examples. */
export class CountBin<E> implements Bin<E> {
  readonly examples: E[] = [];
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  add(example: E): boolean {
    if (this.full) return false;
    this.examples.push(example);
    return true;
  }

  get full(): boolean {
    return this.examples.length === this.#size;
  }
}

/** Anything with a length in tokens. */
export interface Sized {
  readonly inputIds: { readonly length: number };
}

/** `first-fit`: the first row with room; `sequential`: the current row, or the next one (documents keep their order). */
export type Packing = 'none' | 'first-fit' | 'sequential';

/** `rows` rows of `capacity` tokens with one (`none`) or several whole examples each. */
export class RowBin<E extends Sized> implements Bin<E> {
  readonly rows: E[][];
  readonly #used: number[];
  readonly #capacity: number;
  readonly #packing: Packing;
  #current = 0;

  constructor(rows: number, capacity: number, packing: Packing) {
    this.rows = Array.from({ length: rows }, () => []);
    this.#used = new Array(rows).fill(0);
    this.#capacity = capacity;
    this.#packing = packing;
  }

  add(example: E): boolean {
    const length = example.inputIds.length;
    if (length > this.#capacity)
      throw new RankineError(
        'data/too-long',
        `An example has ${length} tokens, but a row of the batch holds ${this.#capacity}.`,
        'Make examples with maxLength no larger than the rows, or raise the length of the rows.',
      );
    const row = this.#find(length);
    if (row === -1) return false;
    this.rows[row].push(example);
    this.#used[row] += length;
    this.#current = row;
    return true;
  }

  get full(): boolean {
    return this.rows.every((row) => row.length > 0);
  }

  #find(length: number): number {
    if (this.#packing === 'none') return this.#used.indexOf(0);
    const from = this.#packing === 'sequential' ? this.#current : 0;
    return this.#used.findIndex((used, i) => i >= from && used + length <= this.#capacity);
  }
}
