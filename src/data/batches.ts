import { RankineError } from '../errors.ts';
import { fillBins, type LastBatch, type Packing, RowBin } from './bins.ts';
import { IGNORED, type TokenExample } from './examples.ts';
import { type Lengths, rowCapacity, rowLength } from './lengths.ts';
import type { OrderOptions, Position } from './order.ts';
import type { ExampleSource } from './sources.ts';

export interface BatchOptions extends OrderOptions {
  /** B, rows in a batch. */
  readonly batchSize: number;
  /** T; default one shape, the longest example found (sources on demand need it given). */
  readonly lengths?: Lengths;
  /** Several documents in a row, without attention across them (default `none`). */
  readonly packing?: Packing;
  /** Default `pad`. */
  readonly last?: LastBatch;
  /** What stands in padded positions of `inputIds` (default 0); segment 0 marks them, so the value never matters. */
  readonly padId?: number;
}

/**
 * A batch for a language model, all arrays [B, T] row-major.
 *
 * `targets` is already shifted: `targets[b, t]` is the token after position t **of the same document**, or −100
 * where there is none or where it is not to be learned. The loss is the cross-entropy of the logits at t against
 * `targets` at t, over the `targetCount` positions that are not −100; the model shifts nothing.
 *
 * `segmentIds` numbers the documents of a row from 1; 0 is padding. A position may attend to earlier positions of its
 * own segment only. `positionIds` restarts at 0 in every document.
 */
export interface Batch {
  readonly shape: readonly [rows: number, length: number];
  readonly inputIds: Int32Array;
  readonly targets: Int32Array;
  readonly segmentIds: Int32Array;
  readonly positionIds: Int32Array;
  /** Positions that are no padding. */
  readonly tokens: number;
  /** Positions that are learned. */
  readonly targetCount: number;
  readonly epoch: number;
  /** Where the batch after this one begins: store it in the checkpoint, hand it back as `from`. */
  readonly next: Position;
}

/**
 * Batches of a language model, in an order that depends on (seed, epoch) alone. Documents are never cut or mixed here.
 * @throws RankineError `data/too-long`, `data/lengths`, `data/empty`, `data/too-few`
 */
export async function* batches(
  source: ExampleSource<TokenExample>,
  options: BatchOptions,
): AsyncGenerator<Batch> {
  const { batchSize, packing = 'none', last = 'pad', padId = 0 } = options;
  const lengths = options.lengths ?? source.longest;
  if (lengths === undefined) throw unknownLength(source.name);
  const capacity = rowCapacity(lengths, source.longest, source.name);
  if (packing !== 'none' && capacity === Infinity) throw unknownLength(source.name);
  const open = () => new RowBin<TokenExample>(batchSize, capacity, packing);
  for await (const { bin, epoch, next } of fillBins(source, options, last, open)) {
    const needed = Math.max(...bin.rows.map(usedLength));
    yield { ...layOut(bin.rows, rowLength(lengths, needed), padId), epoch, next };
  }
}

function usedLength(row: readonly TokenExample[]): number {
  return row.reduce((sum, example) => sum + example.inputIds.length, 0);
}

/** Writes documents into rows; see `Batch` for what the arrays mean. */
export function layOut(
  rows: readonly (readonly TokenExample[])[],
  length: number,
  padId = 0,
): Omit<Batch, 'epoch' | 'next'> {
  const size = rows.length * length;
  const inputIds = new Int32Array(size).fill(padId);
  const targets = new Int32Array(size).fill(IGNORED);
  const segmentIds = new Int32Array(size);
  const positionIds = new Int32Array(size);
  let tokens = 0;
  let targetCount = 0;
  rows.forEach((row, b) => {
    let at = b * length;
    row.forEach((example, segment) => {
      const n = example.inputIds.length;
      inputIds.set(example.inputIds, at);
      targets.set(example.labels.subarray(1), at);
      segmentIds.fill(segment + 1, at, at + n);
      for (let t = 0; t < n; t++) {
        positionIds[at + t] = t;
        if (t > 0 && example.labels[t] !== IGNORED) targetCount++;
      }
      tokens += n;
      at += n;
    });
  });
  return { shape: [rows.length, length], inputIds, targets, segmentIds, positionIds, tokens, targetCount };
}

export function unknownLength(name: string): RankineError {
  return new RankineError(
    'data/lengths',
    `${name}: the length of the longest example is not known before all are read.`,
    'Give lengths, e.g. the maxLength of the examples.',
  );
}
