import { join } from 'node:path';
import { expect, it } from 'vitest';
import { furthest, tinyBatch, tinyModel, tinySetup, tinyUpdater } from '../../tests/training/tiny.ts';
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

const batch = tinyBatch(2, 12);
const shape = batchShape(batch.shape, { labelled: false, causal: true, packed: false, pairs: false });

async function started(options: Record<string, unknown>, execution: 'whole' | 'blockwise' = 'whole') {
  const setup = await tinySetup(tinyModel('llama'), {
    method: 'sltrain',
    options: { density: 0.1, ...options },
  });
  const rate = 1e-3;
  return { setup, rate, ...tinyUpdater(setup, { batches: [batch], shape, rate, execution }) };
}

it('SLTrain moves alike layer by layer, each gradient spent before the next', async () => {
  const [whole, blockwise] = [await started({}), await started({}, 'blockwise')];
  for (let i = 0; i < 3; i++) {
    const [a, b] = [await whole.update(), await blockwise.update()];
    expect(a.loss).toBeCloseTo(b.loss, 5);
    expect(b.norm).toBeNaN();
  }
  const arrays = (s: typeof whole) => s.setup.trainables.map((t) => t.array);
  expect(furthest(arrays(whole), arrays(blockwise))).toBeLessThan(1e-5);
});

it('lets go of the weights that it replaces', async () => {
  const { setup } = await started({ targets: ['q_proj'] });
  for (const [name, { data, shape: of }] of setup.model.weights)
    expect(data.length, name).toBe(name.includes('q_proj') ? 0 : of.reduce((a, b) => a * b, 1));
});

it('after a reset every tensor moves by the rate, those beside the form too', async () => {
  const options = { restart: 'both', cycle: 3, recovery: 1, modulesToSave: ['embed_tokens', 'norm'] };
  const { setup, update, progress, rate } = await started(options);
  for (let i = 0; i < 3; i++) await update();
  expect(progress.resets).toEqual({});
  const norm = setup.trainables.find((t) => t.info.name === 'model.norm.weight')!.array.data as Float32Array;
  const before = norm.slice();
  await update();
  expect(Object.keys(progress.resets)).toEqual(setup.trainables.map((t) => t.info.name));
  expect(new Set(Object.values(progress.resets))).toEqual(new Set([3]));
  // Adam's first step: both moments come from one gradient.
  norm.forEach((v, i) => {
    expect(Math.abs(v - before[i]) / rate).toBeCloseTo(1, 2);
  });
});

it('reports the rate of the recovery', async () => {
  const { update, rate } = await started({ restart: 'reset', cycle: 4, recovery: 3 });
  const rates: number[] = [];
  for (let i = 0; i < 8; i++) rates.push((await update()).rate / rate);
  const expected = [1, 1, 1, 1, 0.001, 0.5005, 1, 1];
  rates.forEach((v, i) => {
    expect(v).toBeCloseTo(expected[i], 9);
  });
});

const texts = (folder: string) => ({
  train: writeRows(join(folder, 'texts.jsonl'), tinyTexts(20)),
  holdOut: 4,
});

it.each([
  ['sltrain', { rank: 4, density: 0.05, restart: 'both', cycle: 3, recovery: 2 }],
  ['low-rank', { rank: 4, restart: 'both', cycle: 3, recovery: 2, resetMoments: 'first' }],
  ['relora', { rank: 4, every: 3, warmup: 2, reset: 'random', pruned: 0.5 }],
])(
  '%s: a run that is interrupted in a recovery leaves the bytes of one that was not',
  async (method, options) => {
    const folder = temporaryFolder();
    const recipe: RecipeInput = {
      model: { path: await tinyFolder(folder, 'llama-tied'), init: 'random' },
      data: texts(folder),
      adapter: { method, ...options, modulesToSave: ['embed_tokens', 'norm'] },
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
    expect(resumed.evaluation!.loss).toBeLessThan(Math.log(2048));
  },
);
