import { afterAll, describe, expect, it } from 'vitest';
import { tinyModel, tinySetup, tinyUpdater, VOCABULARY } from '../../tests/training/tiny.ts';
import type { StepInfo } from '../adapters/index.ts';
import { type Batch, IGNORED, layOut, START, type TokenExample } from '../data/index.ts';
import { createEngine } from '../engine/index.ts';
import { random } from '../linalg/index.ts';
import { batchShape } from './batch-feeds.ts';

const engine = await createEngine({ threads: 1 });
afterAll(() => engine.dispose());

const KIND = { labelled: false, causal: true, packed: false, pairs: false };

/** Rows of documents of these lengths, padded to `width`; every token but the first of a document is a target. */
function rows(lengths: readonly number[], width: number, seed: number): Batch {
  const cursor = random(seed, 'observed').cursor();
  const documents = lengths.map((n): TokenExample[] => {
    const inputIds = Int32Array.from({ length: n }, () => cursor.integer(VOCABULARY));
    return [{ inputIds, labels: inputIds.map((id, t) => (t === 0 ? IGNORED : id)) }];
  });
  return { ...layOut(documents, width), epoch: 0, next: START };
}

/** What the updates observe under `name`, layer by layer. */
async function observed(
  [method, name]: readonly [string, string],
  execution: 'whole' | 'blockwise',
  batches: readonly Batch[],
  { updates = 1, options = {} }: { updates?: number; options?: Record<string, unknown> } = {},
): Promise<number[][]> {
  const setup = await tinySetup(tinyModel('llama'), { method, options }, engine);
  const { update } = tinyUpdater(setup, {
    execution,
    batches,
    accumulate: batches.length,
    shape: batchShape(batches[0].shape, KIND),
    rate: 0,
  });
  const { steps } = setup.adaptation!;
  const seen: number[][] = [];
  const before = steps!.afterGradient;
  steps!.afterGradient = (info: StepInfo) => {
    if (steps!.observes!(info.step))
      for (const layer of info.layers) seen.push(Array.from(info.observed(layer, name).data, Number));
    return before?.(info);
  };
  for (let i = 0; i < updates; i++) await update();
  return seen;
}

const counts = ['flylora', 'counts'] as const;
const ranks = { options: { rank: 4, active: 2 } };

describe('what a form observes', () => {
  it.each(['whole', 'blockwise'] as const)(
    '%s: every token of the loss chooses k ranks, padding none',
    async (execution) => {
      const short = await observed(counts, execution, [rows([5, 7], 8, 1)], ranks);
      const long = await observed(counts, execution, [rows([5, 7], 14, 1)], ranks);
      expect(short).toHaveLength(14);
      expect(long).toEqual(short);
      // The loss depends on all but the last token of a document; on a first query not, for it sees one key.
      const totals = short.map((layer) => layer.reduce((n, v) => n + v, 0));
      expect(new Set(totals)).toEqual(new Set([2 * (3 + 5), 2 * (4 + 6)]));
    },
  );

  it.each(['whole', 'blockwise'] as const)('%s: sums the batches of an update', async (execution) => {
    const [a, b] = [rows([5, 7], 8, 1), rows([6, 3], 8, 2)];
    const both = await observed(counts, execution, [a, b], ranks);
    const [one, other] = [
      await observed(counts, execution, [a], ranks),
      await observed(counts, execution, [b], ranks),
    ];
    expect(both).toEqual(one.map((layer, i) => layer.map((v, k) => v + other[i][k])));
  });

  it('is the same layer by layer as at once, also where only some updates observe', async () => {
    const options = { rank: 2, every: 4, first: 2, scored: 2 };
    const batches = [rows([5, 7], 8, 1)];
    const runs = await Promise.all(
      (['whole', 'blockwise'] as const).map((execution) =>
        observed(['increlora', 'score'], execution, batches, { updates: 9, options }),
      ),
    );
    expect(runs[0]).toHaveLength(14 * 4);
    for (const [i, [score]] of runs[0].entries()) {
      expect(score).toBeGreaterThan(0);
      expect(runs[1][i][0] / score).toBeCloseTo(1, 4);
    }
  });

  it('compiles nothing after its two programs', async () => {
    const own = await createEngine({ threads: 1 });
    const options = { rank: 2, every: 3, first: 1, scored: 1, top: 4 };
    const setup = await tinySetup(tinyModel('llama'), { method: 'increlora', options }, own);
    const batch = rows([5, 7], 8, 1);
    const shape = batchShape(batch.shape, KIND);
    const { update } = tinyUpdater(setup, { batches: [batch], shape });
    for (let i = 0; i < 4; i++) await update();
    const compiled = own.sessions;
    for (let i = 0; i < 9; i++) await update();
    expect(own.sessions).toBe(compiled);
    await own.dispose();
  });
});
