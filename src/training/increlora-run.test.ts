import { join } from 'node:path';
import { expect, it } from 'vitest';
import { tinyBatch, tinyModel, tinySetup, tinyUpdater } from '../../tests/training/tiny.ts';
import {
  computedMetrics,
  contents,
  runTiny,
  temporaryFolder,
  tinyFolder,
  tinyTexts,
  writeRows,
} from '../../tests/training/tiny-folder.ts';
import { batchShape } from './batch-feeds.ts';
import type { RecipeInput } from './recipe.ts';

it.each(['whole', 'blockwise'] as const)(
  '%s: parts of a tensor have their own state and count of updates, and rest where there is nothing yet',
  async (execution) => {
    const options = { rank: 2, every: 3, first: 2, targets: ['q_proj'] };
    const setup = await tinySetup(tinyModel('llama'), { method: 'increlora', options });
    const batch = tinyBatch(2, 12);
    const { update, live, progress } = tinyUpdater(setup, {
      batches: [batch],
      shape: batchShape(batch.shape, { labelled: false, causal: true, packed: false, pairs: false }),
      rate: 1e-3,
      execution,
    });
    const [{ spec, trainable }] = setup.adaptation!.layers;
    const state = (part: string) =>
      ['m', 'v'].map((key) => live.updates.state.get(`${spec.name}#${part}/${key}`)!.data as Float32Array);
    const rows = (rank: number) => [...trainable.A.data].slice(16 * rank, 16 * (rank + 1));
    const before = rows(2);
    await update();
    const first = rows(0);
    await update();
    expect(rows(0)).not.toEqual(first);
    expect(rows(2)).toEqual(before);
    expect(progress.resets[`${spec.name}#A[1]`]).toBe(1);
    expect(progress.resets[`${spec.name}#A[0]`]).toBeUndefined();
    // Adam's first step: both moments come from one gradient. Those of the first rank come from two.
    const ratio = ([m, v]: Float32Array[]) => m.map((x, i) => Math.abs(x / 0.1) / Math.sqrt(v[i] / 0.001));
    for (const r of ratio(state('A[1]'))) expect(r).toBeCloseTo(1, 4);
    expect(ratio(state('A[0]')).some((r) => Math.abs(r - 1) > 0.1)).toBe(true);
    for (const moment of state('A[2]')) expect(moment.every((x) => x === 0)).toBe(true);
  },
);

it('IncreLoRA: a run that is interrupted after a growth leaves the bytes of one that was not', async () => {
  const folder = temporaryFolder();
  const recipe: RecipeInput = {
    model: { path: await tinyFolder(folder, 'llama-tied'), init: 'random' },
    data: { train: writeRows(join(folder, 'texts.jsonl'), tinyTexts(20)), holdOut: 4 },
    adapter: { method: 'increlora', rank: 2, every: 3, first: 2, scored: 2, top: 4, warmup: 2 },
    rate: 1e-2,
    batch: 4,
    steps: 10,
    evaluateEvery: 4,
  };
  const [straight, broken] = ['straight', 'broken'].map((name) => join(folder, name));
  const whole = await runTiny({ ...recipe, output: straight });
  await runTiny({ ...recipe, output: broken }, { stopAfter: 4 });
  const resumed = await runTiny({ ...recipe, output: broken }, { mode: 'resume' });
  expect(computedMetrics(broken)).toEqual(computedMetrics(straight));
  expect(contents(resumed.artifact!)).toEqual(contents(whole.artifact!));
});
