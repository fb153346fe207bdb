import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Batch, type BatchOptions, batches } from './batches.ts';
import type { Packing } from './bins.ts';
import { fromRecords } from './dataset.ts';
import { IGNORED, type TokenExample } from './examples.ts';
import { labelledBatches } from './labelled.ts';
import { epochOrder } from './order.ts';
import { type ExampleSource, fromExamples, inMemory, onDemand } from './sources.ts';
import { split } from './splits.ts';

/** Documents whose tokens name their document: 100 · d + position + 1. */
function documents(lengths: readonly number[]): TokenExample[] {
  return lengths.map((n, d) => {
    const inputIds = Int32Array.from({ length: n }, (_, t) => 100 * d + t + 1);
    return { inputIds, labels: inputIds.map((id, t) => (t % 3 === 1 ? IGNORED : id)) };
  });
}

async function collect<T>(items: AsyncIterable<T>, most = Infinity): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) {
    list.push(item);
    if (list.length >= most) break;
  }
  return list;
}

/** Takes the documents out of a batch again by their segments, checking everything that a batch promises. */
function unpackBatch(batch: Batch): number[][] {
  const [rows, length] = batch.shape;
  const found: number[][] = [];
  let tokens = 0;
  let learned = 0;
  for (let b = 0; b < rows; b++) {
    for (let t = 0; t < length; t++) {
      const at = b * length + t;
      if (batch.targets[at] !== IGNORED) learned++;
      if (batch.segmentIds[at] === 0) {
        expect([batch.targets[at], batch.positionIds[at]]).toEqual([IGNORED, 0]);
        continue;
      }
      tokens++;
      const begins = t === 0 || batch.segmentIds[at] !== batch.segmentIds[at - 1];
      if (begins) {
        expect(batch.segmentIds[at]).toBe(t === 0 ? 1 : batch.segmentIds[at - 1] + 1);
        found.push([]);
      }
      const document = found[found.length - 1];
      expect(batch.positionIds[at]).toBe(document.length);
      document.push(batch.inputIds[at]);
      expectTarget(batch, at, t + 1 < length && batch.segmentIds[at + 1] === batch.segmentIds[at]);
    }
  }
  expect([batch.tokens, batch.targetCount]).toEqual([tokens, learned]);
  return found;
}

function expectTarget(batch: Batch, at: number, follows: boolean): void {
  const next = batch.inputIds[at + 1];
  const learned = follows && batch.positionIds[at + 1] % 3 !== 1;
  expect(batch.targets[at]).toBe(learned ? next : IGNORED);
}

const anyLengths = fc.array(fc.integer({ min: 2, max: 12 }), { minLength: 1, maxLength: 25 });
const anyPacking = fc.constantFrom<Packing>('none', 'first-fit', 'sequential');
const anyOptions = fc.record({
  batchSize: fc.integer({ min: 1, max: 4 }),
  packing: anyPacking,
  seed: fc.nat(),
});

describe('batches', () => {
  it('lose no document, cut none and mix none, whatever the lengths and the packing', async () => {
    await fc.assert(
      fc.asyncProperty(anyLengths, anyOptions, async (lengths, options) => {
        const made = documents(lengths);
        const all = await collect(batches(fromExamples(made), { ...options, lengths: 12 }));
        for (const batch of all) expect(batch.shape).toEqual([options.batchSize, 12]);
        const found = all.flatMap(unpackBatch).sort((a, b) => a[0] - b[0]);
        expect(found).toEqual(made.map((example) => [...example.inputIds]));
      }),
      { numRuns: 60 },
    );
  });

  it('go on after a kill exactly where they were', async () => {
    await fc.assert(
      fc.asyncProperty(anyLengths, anyOptions, fc.nat(30), async (lengths, options, killed) => {
        const source = fromExamples(documents(lengths));
        const full: BatchOptions = { ...options, lengths: 12, epochs: 3 };
        const all = await collect(batches(source, full));
        const before = all.slice(0, 1 + (killed % all.length));
        const from = JSON.parse(JSON.stringify(before[before.length - 1].next));
        const after = await collect(batches(source, { ...full, from }));
        expect([...before, ...after]).toEqual(all);
      }),
      { numRuns: 60 },
    );
  });

  it('go on inside a row that gives several examples', async () => {
    const parts = documents([3, 4, 5, 6, 7, 2]);
    const source: ExampleSource<TokenExample> = {
      name: 'split',
      length: 3,
      at: async (row) => [parts.slice(0, 4), [], parts.slice(4)][row],
    };
    const options = { batchSize: 1, lengths: 8, seed: 3, epochs: 2 };
    const all = await collect(batches(source, options));
    expect(all).toHaveLength(12);
    for (const [i, batch] of all.entries())
      expect(await collect(batches(source, { ...options, from: batch.next }))).toEqual(all.slice(i + 1));
  });

  it('first-fit fills rows better than a document a row', async () => {
    const source = fromExamples(documents([7, 6, 5, 5, 3, 2, 4, 8]));
    const count = async (packing: Packing) =>
      (await collect(batches(source, { batchSize: 2, lengths: 10, packing, seed: 1, shuffle: false })))
        .length;
    expect([await count('none'), await count('sequential'), await count('first-fit')]).toEqual([4, 3, 3]);
  });

  it('shuffle every epoch anew, by a permutation of (seed, epoch) alone', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.nat(), fc.nat(50), (rows, seed, epoch) => {
        const order = epochOrder(rows, seed, epoch);
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: rows }, (_, i) => i));
        expect(epochOrder(rows, seed, epoch)).toEqual(order);
      }),
    );
    expect(epochOrder(100, 1, 0)).not.toEqual(epochOrder(100, 1, 1));
    expect(epochOrder(100, 1, 0)).not.toEqual(epochOrder(100, 2, 0));
    expect([...epochOrder(4, 1, 0, false)]).toEqual([0, 1, 2, 3]);
  });

  it('have the length asked for: one, a multiple or a bucket', async () => {
    const source = fromExamples(documents([3, 9, 5]));
    const shapes = async (lengths?: BatchOptions['lengths']) =>
      (await collect(batches(source, { batchSize: 1, seed: 0, shuffle: false, lengths }))).map(
        (b) => b.shape[1],
      );
    expect(await shapes()).toEqual([9, 9, 9]);
    expect(await shapes({ multipleOf: 4 })).toEqual([4, 12, 8]);
    expect(await shapes({ buckets: [10, 5] })).toEqual([5, 10, 5]);
    await expect(shapes(8)).rejects.toMatchObject({ code: 'data/too-long' });
    await expect(shapes({ multipleOf: 0 })).rejects.toMatchObject({ code: 'data/lengths' });
  });

  it('pad or drop a short last batch, and say when nothing is left', async () => {
    const source = fromExamples(documents([3, 3, 3]));
    const options = { batchSize: 2, seed: 0, epochs: 2 };
    const padded = await collect(batches(source, { ...options, padId: 77 }));
    expect(padded.map((batch) => batch.tokens)).toEqual([6, 3, 6, 3]);
    expect([...padded[1].inputIds.subarray(3)]).toEqual([77, 77, 77]);
    expect((await collect(batches(source, { ...options, last: 'drop' }))).map((b) => b.epoch)).toEqual([
      0, 1,
    ]);
    const endless = batches(source, { batchSize: 4, seed: 0, epochs: Infinity, last: 'drop' });
    await expect(collect(endless, 1)).rejects.toMatchObject({ code: 'data/too-few' });
    const nothing = batches(fromExamples<TokenExample>([]), { ...options, lengths: 4 });
    await expect(collect(nothing)).rejects.toMatchObject({ code: 'data/empty' });
  });

  it('tokenize in memory or on demand alike', async () => {
    const dataset = fromRecords(Array.from({ length: 20 }, (_, i) => ({ n: 2 + (i % 5) })));
    const toExamples = (row: { fields: Record<string, unknown> }) => documents([row.fields.n as number]);
    const options = { batchSize: 3, seed: 5, lengths: 8, packing: 'first-fit' as const };
    const kept = await collect(batches(await inMemory(dataset, toExamples), options));
    expect(await collect(batches(await onDemand(dataset, toExamples), options))).toEqual(kept);
  });
});

describe('batches for classification', () => {
  it('pad texts and fill a short batch with ignored labels', async () => {
    const source = fromExamples([
      { inputIds: Int32Array.of(1, 2, 3), typeIds: Int32Array.of(0, 0, 1), label: 4 },
      { inputIds: Int32Array.of(5, 6), typeIds: Int32Array.of(0, 0), label: 0 },
      { inputIds: Int32Array.of(7), typeIds: Int32Array.of(0), label: 2 },
    ]);
    const [first, second] = await collect(
      labelledBatches(source, { batchSize: 2, seed: 0, shuffle: false, padId: 9 }),
    );
    expect(first.shape).toEqual([2, 3]);
    expect([...first.inputIds]).toEqual([1, 2, 3, 5, 6, 9]);
    expect([...first.typeIds]).toEqual([0, 0, 1, 0, 0, 0]);
    expect([...first.segmentIds]).toEqual([1, 1, 1, 1, 1, 0]);
    expect([...first.positionIds]).toEqual([0, 1, 2, 0, 1, 0]);
    expect([[...first.labels], [...second.labels], second.tokens]).toEqual([[4, 0], [2, IGNORED], 1]);
  });
});

describe('split', () => {
  it('gives disjoint parts that together are everything, and the same ones again', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 60 }),
        fc.nat(),
        fc.double({ min: 0.01, max: 0.5, noNaN: true }),
        async (n, seed, fraction) => {
          const dataset = fromRecords(Array.from({ length: n }, (_, i) => ({ i })));
          const read = async () => {
            const { train, held } = await split(dataset, { fraction, seed });
            const rows = await Promise.all([collect(train.rows()), collect(held.rows())]);
            return rows.map((part) => part.map((row) => row.fields.i as number));
          };
          const [train, held] = await read();
          expect(held).toHaveLength(Math.max(1, Math.round(n * fraction)));
          expect([...train, ...held].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
          expect(await read()).toEqual([train, held]);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('refuses to leave a part empty', async () => {
    const dataset = fromRecords([{ a: 1 }, { a: 2 }]);
    for (const options of [{ count: 2 }, { count: 0 }, { fraction: 1 }, {}])
      await expect(split(dataset, { ...options, seed: 0 })).rejects.toMatchObject({ code: 'data/split' });
  });
});
