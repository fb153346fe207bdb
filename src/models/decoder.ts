import type { Engine, Feeds } from '../engine/index.ts';
import type { NDArray } from '../graph/index.ts';
import type { Architecture } from './architecture.ts';
import {
  bucketCapacity,
  clearRow,
  createCache,
  type DecodeCache,
  growCache,
  storeRow,
} from './decode-cache.ts';
import { compileStep, type DecodeStep, requireCache, type StepOptions } from './decode-step.ts';

/** One text of a batch, as far as the model has read it. */
export interface DecodeRow {
  /** Prompt and generated tokens. */
  readonly tokens: number[];
  /** First token that the model sees; it has position 0. */
  start: number;
  /** Tokens from `start` on that are in the cache. */
  filled: number;
}

/** A model that reads rows of tokens and remembers their keys and values. */
export interface Decoder {
  /** Cache slots of a row now. */
  readonly capacity: number;
  /**
   * Reads all tokens of these rows that it has not read yet.
   * @param active rows with at least one unread token, by number
   * @returns scores of the next token by row number, [vocabulary]; valid until the next call
   */
  read(active: readonly number[]): Promise<Map<number, Float32Array>>;
  /** Makes a row begin at a later token. */
  restart(row: number, start: number): void;
}

export interface DecoderOptions extends StepOptions {
  /** Tensors beyond the model's weights that the hooks ask for, by input name. */
  feeds?: Feeds;
  /** Tokens that each row is expected to grow by: room is made for them at once. */
  reserve: number;
}

/** Prompts are read in pieces of at most so many positions of all rows together: bounds the memory of attention. */
const PIECE = 1024;
const LONGEST_PIECE = 256;
const SHORTEST_PIECE = 8;

export function createDecoder(
  engine: Engine,
  model: { architecture: Architecture; weights: ReadonlyMap<string, NDArray> },
  rows: readonly DecodeRow[],
  options: DecoderOptions,
): Decoder {
  const { architecture } = model;
  const limit = architecture.maxLength ?? Infinity;
  const shape = { rows: rows.length, blocks: architecture.blocks, ...requireCache(architecture) };
  const tensors: Feeds = { ...Object.fromEntries(model.weights), ...options.feeds };
  const longest = Math.max(...rows.map((r) => r.tokens.length - r.start));
  let cache = createCache(shape, bucketCapacity(Math.min(longest + options.reserve, limit), limit));
  let steps = new Map<number, DecodeStep>();

  const stepFor = async (unread: number, slots: number): Promise<DecodeStep> => {
    if (slots > cache.capacity) {
      // Doubling keeps the number of compilations of a long text small.
      const wanted = Math.max(slots, Math.min(2 * cache.capacity, limit));
      cache = growCache(cache, bucketCapacity(wanted, limit));
      steps = new Map();
    }
    const length = pieceLength(unread, rows.length);
    let step = steps.get(length);
    if (!step) {
      step = await compileStep(engine, architecture, cache, length, tensors, options);
      steps.set(length, step);
    }
    return step;
  };

  return {
    get capacity() {
      return cache.capacity;
    },
    async read(active) {
      const scores = new Map<number, Float32Array>();
      let reading = active;
      while (reading.length > 0) {
        const unread = new Map(
          reading.map((b) => [b, rows[b].tokens.length - rows[b].start - rows[b].filled]),
        );
        const slots = Math.max(...reading.map((b) => rows[b].filled + unread.get(b)!));
        const step = await stepFor(Math.max(...unread.values()), slots);
        writeInputs(step, rows, unread, limit);
        await step.run();
        const ready = keepOutputs(step, cache, rows, unread);
        reading = reading.filter((b) => !ready.includes(b));
        const width = step.logits.length / rows.length;
        for (const b of ready) {
          const own = step.logits.subarray(b * width, (b + 1) * width);
          // Another piece may write over the scores of a row that is done.
          scores.set(b, reading.length > 0 ? own.slice() : own);
        }
      }
      return scores;
    },
    restart(row, start) {
      rows[row].start = start;
      rows[row].filled = 0;
      clearRow(cache, row);
    },
  };
}

/** New positions that one run takes: one, or a power of two that covers the unread tokens as far as allowed. */
function pieceLength(unread: number, rows: number): number {
  if (unread === 1) return 1;
  const most = Math.min(LONGEST_PIECE, PIECE / rows);
  let length = SHORTEST_PIECE;
  while (length < unread && length * 2 <= most) length *= 2;
  return length;
}

/** Rows are padded on the right; padding repeats the last possible position, and nothing that it yields is kept. */
function writeInputs(
  step: DecodeStep,
  rows: readonly DecodeRow[],
  unread: ReadonlyMap<number, number>,
  limit: number,
): void {
  const { length, ids, positions, last } = step;
  for (let b = 0; b < rows.length; b++) {
    const { tokens, start, filled } = rows[b];
    const count = Math.min(unread.get(b) ?? 0, length);
    for (let i = 0; i < length; i++) {
      ids[b * length + i] = i < count ? BigInt(tokens[start + filled + i]) : 0n;
      positions[b * length + i] = BigInt(Math.min(filled + i, limit - 1));
    }
    last[b] = BigInt(b * length + Math.max(count, 1) - 1);
  }
}

/** Takes over the new keys and values; returns the rows that have no unread tokens left. */
function keepOutputs(
  step: DecodeStep,
  cache: DecodeCache,
  rows: readonly DecodeRow[],
  unread: ReadonlyMap<number, number>,
): number[] {
  const ready: number[] = [];
  for (const [b, waiting] of unread) {
    const count = Math.min(waiting, step.length);
    storeRow(cache, b, rows[b].filled, count, step.keys, step.values);
    rows[b].filled += count;
    if (count === waiting) ready.push(b);
  }
  return ready;
}
