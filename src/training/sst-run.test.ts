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

it('counts updates anew for an optimizer state that a form resets', async () => {
  const options = { rank: 2, every: 3, iterations: 2, warmup: 0, targets: ['q_proj'] };
  const setup = await tinySetup(tinyModel('llama'), { method: 'sst', options });
  const batch = tinyBatch(2, 12);
  const { update, live, progress } = tinyUpdater(setup, {
    batches: [batch],
    shape: batchShape(batch.shape, { labelled: false, causal: true, packed: false, pairs: false }),
    rate: 1e-3,
  });
  const [layer] = setup.adaptation!.layers;
  for (let i = 0; i < 3; i++) await update();
  const before = (layer.trainable.U.data as Float32Array).slice();
  const sampled = (layer.frozen.S.data as Float32Array).slice();
  await update();
  expect(layer.frozen.S.data).not.toEqual(sampled);
  expect(before).not.toEqual(layer.trainable.U.data);
  const name = `${layer.spec.name}#U`;
  expect(progress.resets[name]).toBe(3);
  // Adam's first step after a reset: both moments come from one gradient, so every element moves by the rate.
  const [m, v] = ['m', 'v'].map((key) => live.updates.state.get(`${name}/${key}`)!.data as Float32Array);
  for (let i = 0; i < m.length; i++) expect(Math.abs(m[i] / 0.1)).toBeCloseTo(Math.sqrt(v[i] / 0.001), 4);
});

it('SST: a run that is interrupted inside an iteration leaves the bytes of one that was not', async () => {
  const folder = temporaryFolder();
  const recipe: RecipeInput = {
    model: { path: await tinyFolder(folder, 'llama-tied'), init: 'random' },
    data: { train: writeRows(join(folder, 'texts.jsonl'), tinyTexts(20)), holdOut: 4 },
    adapter: { method: 'sst', rank: 4, every: 3, iterations: 2, warmup: 2 },
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
});
