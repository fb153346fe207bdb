import { RankineError } from '../errors.ts';
import { type Batch, unknownLength } from './batches.ts';
import { CountBin, fillBins, type LastBatch } from './bins.ts';
import { type ExampleReport, IGNORED } from './examples.ts';
import { type Lengths, rowCapacity, rowLength } from './lengths.ts';
import type { OrderOptions, Position } from './order.ts';
import type { LabelledSample } from './shapes.ts';
import type { ExampleSource } from './sources.ts';
import type { Tokenizer } from './tokenizer.ts';

/** A text, or a pair of texts, with its class. */
export interface LabelledExample {
  readonly inputIds: Int32Array;
  readonly typeIds: Int32Array;
  readonly label: number;
}

export interface LabelledOptions {
  readonly maxLength: number;
  /** `keep-start` (default) cuts the longer text of a pair at its end, as the tokenizers library does. */
  readonly truncation?: 'keep-start' | 'drop' | 'error';
}

/**
 * Makes the function that tokenizes rows for classification, with the tokenizer's special tokens around.
 * @throws RankineError `data/too-long` (with `error`)
 */
export function labelledExamples(
  tokenizer: Tokenizer,
  { maxLength, truncation = 'keep-start' }: LabelledOptions,
): (sample: LabelledSample, report: ExampleReport) => LabelledExample[] {
  return (sample, report) => {
    const { ids, typeIds, cut } = tokenizer.encode(sample.text, { pair: sample.pair, maxLength });
    if (cut > 0 && truncation === 'error')
      throw new RankineError(
        'data/too-long',
        `${sample.where}: ${ids.length + cut} tokens, but at most ${maxLength} are allowed.`,
        'Raise maxLength (no further than the model allows), or set truncation.',
      );
    if (cut > 0 && truncation === 'drop') {
      report.dropped++;
      report.tokensDropped += ids.length + cut;
      return [];
    }
    report.truncated += cut > 0 ? 1 : 0;
    report.tokensDropped += cut;
    report.examples++;
    return [{ inputIds: ids, typeIds, label: sample.label }];
  };
}

/** [B, T] arrays as in `Batch`, one text or pair a row, and `labels` [B] with −100 for the rows that fill a short batch. */
export interface LabelledBatch
  extends Pick<Batch, 'shape' | 'inputIds' | 'segmentIds' | 'positionIds' | 'tokens' | 'epoch' | 'next'> {
  readonly typeIds: Int32Array;
  readonly labels: Int32Array;
}

export interface LabelledBatchOptions extends OrderOptions {
  readonly batchSize: number;
  readonly lengths?: Lengths;
  readonly last?: LastBatch;
  readonly padId?: number;
}

/** Batches for classification; the order, the lengths and the end of an epoch are as in `batches`. */
export async function* labelledBatches(
  source: ExampleSource<LabelledExample>,
  options: LabelledBatchOptions,
): AsyncGenerator<LabelledBatch> {
  const { batchSize, last = 'pad', padId = 0 } = options;
  const lengths = options.lengths ?? source.longest;
  if (lengths === undefined) throw unknownLength(source.name);
  const capacity = rowCapacity(lengths, source.longest, source.name);
  const open = () => new CountBin<LabelledExample>(batchSize);
  for await (const { bin, epoch, next } of fillBins(source, options, last, open)) {
    const needed = Math.max(...bin.examples.map((example) => example.inputIds.length));
    if (needed > capacity)
      throw new RankineError(
        'data/too-long',
        `An example has ${needed} tokens, but a row of the batch holds ${capacity}.`,
        'Make examples with maxLength no larger than the rows.',
      );
    yield layOutLabelled(bin.examples, batchSize, rowLength(lengths, needed), padId, { epoch, next });
  }
}

function layOutLabelled(
  examples: readonly LabelledExample[],
  rows: number,
  length: number,
  padId: number,
  place: { epoch: number; next: Position },
): LabelledBatch {
  const size = rows * length;
  const inputIds = new Int32Array(size).fill(padId);
  const typeIds = new Int32Array(size);
  const segmentIds = new Int32Array(size);
  const positionIds = new Int32Array(size);
  const labels = new Int32Array(rows).fill(IGNORED);
  let tokens = 0;
  examples.forEach((example, b) => {
    const n = example.inputIds.length;
    inputIds.set(example.inputIds, b * length);
    typeIds.set(example.typeIds, b * length);
    segmentIds.fill(1, b * length, b * length + n);
    for (let t = 0; t < n; t++) positionIds[b * length + t] = t;
    labels[b] = example.label;
    tokens += n;
  });
  return { shape: [rows, length], inputIds, typeIds, segmentIds, positionIds, labels, tokens, ...place };
}
