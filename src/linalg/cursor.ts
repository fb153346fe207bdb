import { RankineError } from '../errors.ts';
import { log, normal52, uniform53 } from './distributions.ts';
import { type Key, philox, splitSafe } from './philox.ts';

/** The third and fourth counter word of all cursors: beyond what a stateless draw can name. */
const CURSOR = 0xffff_ffff;
const BUFFER = 64;

/** All that a cursor remembers; plain JSON. */
export interface CursorState {
  readonly key: Key;
  /** Words read so far. */
  readonly position: number;
}

/** Reads a stream word by word. `state` taken from one cursor and set in another continues bit for bit. */
export class Cursor {
  #key: Key;
  #position: number;
  #buffer = new Uint32Array(BUFFER);
  #start = -1;

  constructor(key: Key, position = 0) {
    this.#key = key;
    this.#position = position;
  }

  get state(): CursorState {
    return { key: this.#key, position: this.#position };
  }

  set state(state: CursorState) {
    this.#key = [state.key[0], state.key[1]];
    this.#position = state.position;
    this.#start = -1;
  }

  /** The next 32 random bits as an integer in [0, 2^32). */
  next(): number {
    const offset = this.#position % BUFFER;
    const start = this.#position - offset;
    if (start !== this.#start) {
      philox(this.#buffer, this.#key, [...splitSafe(start / 4), CURSOR, CURSOR]);
      this.#start = start;
    }
    this.#position++;
    return this.#buffer[offset];
  }

  /** A multiple of 2^-53 in [0, 1). */
  uniform(): number {
    return uniform53(this.next(), this.next());
  }

  /** A standard normal number. */
  normal(): number {
    return normal52(this.next(), this.next());
  }

  /** An unbiased integer in [0, n), n in 1 to 2^32: words of the incomplete last cycle are rejected. */
  integer(n: number): number {
    if (!(Number.isInteger(n) && n >= 1 && n <= 2 ** 32))
      throw new RankineError('linalg/range', `No integer can be drawn below ${n}.`, 'Give 1 to 2^32.');
    const limit = 2 ** 32 - (2 ** 32 % n);
    let word = this.next();
    while (word >= limit) word = this.next();
    return word % n;
  }

  /** Shuffles in place (Fisher and Yates; Durstenfeld 1964) and returns the same array. */
  shuffle<T extends { [index: number]: unknown; readonly length: number }>(items: T): T {
    const a = items as { [index: number]: unknown };
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const kept = a[i];
      a[i] = a[j];
      a[j] = kept;
    }
    return items;
  }

  /** A random order of 0 … n - 1. */
  permutation(n: number): Int32Array {
    return this.shuffle(Int32Array.from({ length: n }, (_, i) => i));
  }

  /**
   * `count` different indices, drawn one after the other with probability proportional to the weights that are
   * left, in the order drawn. Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006):
   * the smallest of exponential variables with rates `weights`.
   * @param weights finite, none negative; zero is never drawn
   * @throws RankineError `linalg/weights` where fewer than `count` weights are positive or one is invalid
   */
  sample(weights: ArrayLike<number>, count: number): Int32Array {
    const drawn: { index: number; time: number }[] = [];
    for (let index = 0; index < weights.length; index++) {
      const weight = weights[index];
      if (!(weight >= 0 && weight < Infinity))
        throw new RankineError(
          'linalg/weights',
          `Weight ${index} is ${weight}.`,
          'Give finite weights of 0 or more.',
        );
      // 1 - u is in (0, 1], where the logarithm is finite.
      const time = -log(1 - this.uniform());
      if (weight > 0) drawn.push({ index, time: time / weight });
    }
    if (!(Number.isInteger(count) && count >= 0 && count <= drawn.length))
      throw new RankineError(
        'linalg/weights',
        `${count} items were asked for, but ${drawn.length} of ${weights.length} weights are positive.`,
        'Ask for fewer.',
      );
    drawn.sort((a, b) => a.time - b.time || a.index - b.index);
    return Int32Array.from(drawn.slice(0, count), (d) => d.index);
  }
}
