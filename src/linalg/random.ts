import { RankineError } from '../errors.ts';
import { Cursor } from './cursor.ts';
import { inverseNormal, normal52, uniform53 } from './distributions.ts';
import { fnv1a64, type Key, philox, split64, splitSafe } from './philox.ts';

export { Cursor, type CursorState } from './cursor.ts';

/** Words made at a time: a buffer that stays in the first-level cache. */
const CHUNK = 2048;
const words = new Uint32Array(CHUNK);
const TWO_32 = 2 ** -32;

/**
 * A stream of random numbers, named by (seed, stream). Stateless: a draw is a pure function of the stream, the
 * counter and the position in the array, so a step of a resumed run redraws the very same numbers. Two draws
 * with one counter share their bits: give every draw (step, layer, …) a counter or a stream of its own.
 *
 * Generator: Philox4x32-10. Normals: Wichura's AS 241 inverse of the distribution function with a fixed
 * logarithm (`distributions.ts`). The bits are the same in Node and in every browser.
 */
export class Random {
  readonly key: Key;

  constructor(key: Key) {
    this.key = key;
  }

  /** Fills with uniform numbers in [0, 1): multiples of 2^-24 (float32) or 2^-53 (float64). */
  fillUniform(out: Float32Array | Float64Array, counter: number | bigint = 0): void {
    if (out instanceof Float32Array) {
      this.#fill(out.length, 1, counter, (start, count) => {
        for (let i = 0; i < count; i++) out[start + i] = (words[i] >>> 8) * 2 ** -24;
      });
    } else {
      this.#fill(out.length, 2, counter, (start, count) => {
        for (let i = 0; i < count; i++) out[start + i] = uniform53(words[2 * i], words[2 * i + 1]);
      });
    }
  }

  /** Fills with standard normal numbers; |z| stays below 6.4 in float32 and below 8.3 in float64. */
  fillNormal(out: Float32Array | Float64Array, counter: number | bigint = 0): void {
    if (out instanceof Float32Array) {
      this.#fill(out.length, 1, counter, (start, count) => {
        for (let i = 0; i < count; i++) out[start + i] = inverseNormal((words[i] + 0.5) * TWO_32);
      });
    } else {
      this.#fill(out.length, 2, counter, (start, count) => {
        for (let i = 0; i < count; i++) out[start + i] = normal52(words[2 * i], words[2 * i + 1]);
      });
    }
  }

  /** Fills with 1 (probability `keepProbability`, exact to 2^-32) and 0. */
  fillBernoulli(out: Uint8Array, keepProbability: number, counter: number | bigint = 0): void {
    if (!(keepProbability >= 0 && keepProbability <= 1))
      throw new RankineError(
        'linalg/probability',
        `The keep probability is ${keepProbability}.`,
        'Give a number from 0 to 1.',
      );
    const threshold = keepProbability * 2 ** 32;
    this.#fill(out.length, 1, counter, (start, count) => {
      for (let i = 0; i < count; i++) out[start + i] = words[i] < threshold ? 1 : 0;
    });
  }

  /** A stateful reader of this stream; it never meets the numbers of the stateless draws. */
  cursor(position = 0): Cursor {
    return new Cursor(this.key, position);
  }

  /** Makes `perItem` words for each of `length` items, chunk by chunk, and hands each chunk to `convert`. */
  #fill(
    length: number,
    perItem: 1 | 2,
    counter: number | bigint,
    convert: (start: number, count: number) => void,
  ): void {
    const [c2, c3] = counterWords(counter);
    const items = CHUNK / perItem;
    for (let start = 0; start < length; start += items) {
      const count = Math.min(items, length - start);
      const needed = Math.ceil((count * perItem) / 4) * 4;
      philox(needed === CHUNK ? words : words.subarray(0, needed), this.key, [
        ...splitSafe((start * perItem) / 4),
        c2,
        c3,
      ]);
      convert(start, count);
    }
  }
}

/**
 * The stream `stream` of the seed. Streams with different names, or of different seeds, are independent.
 * @param seed   integer, taken modulo 2^64
 * @param stream what the numbers are for, e.g. `dropout/layers.3`; hashed (FNV-1a, 64 bits) into the key
 * @throws RankineError `linalg/seed` for a seed that is no (safe) integer
 */
export function random(seed: number | bigint, stream: string): Random {
  if (typeof seed === 'number' && !Number.isSafeInteger(seed))
    throw new RankineError(
      'linalg/seed',
      `The seed ${seed} is not an integer.`,
      'Give an integer or a bigint.',
    );
  const [s0, s1] = split64(BigInt(seed));
  const [h0, h1] = fnv1a64(stream);
  // One more Philox block mixes seed and name: neighbouring seeds or names give unrelated keys.
  const mixed = new Uint32Array(4);
  philox(mixed, [h0, h1], [s0, s1, 0, 0]);
  return new Random([mixed[0], mixed[1]]);
}

/** The upper half of the Philox counter; its top bit is the cursor's. */
function counterWords(counter: number | bigint): Key {
  const valid = typeof counter === 'bigint' ? counter < 2n ** 63n : Number.isSafeInteger(counter);
  if (!valid || counter < 0)
    throw new RankineError(
      'linalg/counter',
      `The counter ${counter} is not an integer of 0 to 2^63 - 1.`,
      'Give the number of the step or of the draw.',
    );
  if (typeof counter === 'bigint') return split64(counter);
  return splitSafe(counter);
}
