import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encode } from 'fast-png';
import { beforeAll, expect, it } from 'vitest';
import { succeed } from '../../tests/command-line.ts';
import {
  computedMetrics,
  contents,
  metric,
  runTiny,
  temporaryFolder,
} from '../../tests/training/tiny-folder.ts';
import { lazyTensors, readPeftAdapter, writeCheckpoint } from '../formats/index.ts';
import { createModel, loadModel } from '../models/index.ts';
import { estimateRun } from './estimate-run.ts';
import type { RecipeInput } from './recipe.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const config = {
  model_type: 'vit',
  architectures: ['ViTForImageClassification'],
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 32,
  image_size: 8,
  patch_size: 4,
};

/** Noise around a colour for each class, a file each; bright and dark tell nothing. */
function writeImages(name: string, classes: Record<string, readonly number[]>, count: number): string {
  for (const [label, colour] of Object.entries(classes)) {
    mkdirSync(at(`${name}/${label}`), { recursive: true });
    for (let i = 0; i < count; i++) {
      const data = Uint8Array.from(
        { length: 300 },
        (_, p) => (colour[p % 3] * (4 + (i % 3)) * 40) / 6 + ((p * 7 + i * 13) % 30),
      );
      writeFileSync(
        at(`${name}/${label}/${i}.png`),
        encode({ width: 10, height: 10, channels: 3, depth: 8, data }),
      );
    }
  }
  return at(name);
}

const colours = { blue: [0, 0, 5], green: [0, 5, 0], red: [5, 0, 0] };
let recipe: RecipeInput;

beforeAll(async () => {
  await writeCheckpoint(
    at('vit'),
    config,
    lazyTensors(Object.fromEntries(createModel(config, undefined, 3).weights)),
    {
      files: { 'preprocessor_config.json': JSON.stringify({ size: { height: 8, width: 8 }, resample: 2 }) },
    },
  );
  recipe = {
    model: at('vit'),
    data: { train: writeImages('train', colours, 8), validation: writeImages('test', colours, 4) },
    adapter: { method: 'lora', rank: 4, targets: ['query', 'value'] },
    rate: 2e-2,
    batch: 6,
    steps: 24,
    evaluateEvery: 12,
    saveEvery: 6,
  };
});

it('learns the classes that the folders name, whole and layer by layer, and is evaluated from its adapter alone', async () => {
  const whole = await runTiny({ ...recipe, output: at('whole') });
  expect(whole.evaluation).toMatchObject({ targets: 12, accuracy: 1 });
  expect(metric(at('whole'), 'eval/accuracy')).toHaveLength(2);
  expect(JSON.parse(readFileSync(at('whole/recipe.json'), 'utf8')).model.labels).toEqual([
    'blue',
    'green',
    'red',
  ]);
  expect((await readPeftAdapter(whole.artifact!)).labels).toEqual(['blue', 'green', 'red']);

  const layers = await runTiny({ ...recipe, execution: 'blockwise', output: at('layers') });
  const losses = (name: string) => metric(at(name), 'train/loss').map((m) => m.value);
  losses('layers').forEach((loss, i) => {
    expect(Math.abs(loss - losses('whole')[i])).toBeLessThan(1e-4);
  });
  expect(layers.evaluation?.accuracy).toBe(1);

  const said = await succeed('evaluate', '--adapter', whole.artifact!, '--data', at('test'), '--json');
  expect(JSON.parse(said)).toMatchObject({ targets: 12, accuracy: 1 });
  expect(JSON.parse(said).loss).toBeCloseTo(whole.evaluation!.loss, 5);
}, 60_000);

it('interrupted and resumed, it leaves the bytes of a run that was never stopped', async () => {
  await runTiny({ ...recipe, output: at('straight') });
  await runTiny({ ...recipe, output: at('broken') }, { stopAfter: 8 });
  const resumed = await runTiny({ ...recipe, output: at('broken') }, { mode: 'resume' });
  expect(computedMetrics(at('broken'))).toEqual(computedMetrics(at('straight')));
  expect(contents(resumed.artifact!)).toEqual(contents(at('straight/adapter')));
}, 60_000);

it('is predicted without an image being read', async () => {
  const estimate = await estimateRun(recipe);
  expect(estimate).toMatchObject({ rows: 6, length: 5 });
  const larger = await estimateRun({ ...recipe, batch: 600 });
  expect(larger.activations).toBeGreaterThan(50 * estimate.activations);
});

it('keeps the classes of a model that knows the data’s, and takes those that the recipe names', async () => {
  const named = { ...config, id2label: { 0: 'red', 1: 'green', 2: 'blue', 3: 'grey' } };
  const { weights } = createModel(named, undefined, 3);
  await writeCheckpoint(at('named'), named, lazyTensors(Object.fromEntries(weights)), {});
  const short = { ...recipe, steps: 1 };
  const kept = await runTiny({ ...short, model: at('named'), output: at('kept') });
  expect(kept.events.some((e) => e.type === 'notice' && /drawn/.test(e.text))).toBe(false);
  const labels = ['red', 'green'];
  await expect(
    runTiny({ ...short, model: { path: at('vit'), labels }, output: at('few') }),
  ).rejects.toMatchObject({ code: 'data/label', message: expect.stringContaining('blue/0.png') });
});

it('trains a head alone: the rest of the model stays as it is', async () => {
  const adapter = { method: 'full', modules: ['classifier'] };
  const run = await runTiny({ ...recipe, adapter, output: at('head') });
  expect(run.trainable).toBe(3 * 16 + 3);
  expect(run.artifact).toBe(at('head/model'));
  const [before, after] = [await loadModel(at('vit')), await loadModel(run.artifact!)];
  const changed = [...after.weights].filter(([name, { data }]) => {
    const old = before.weights.get(name)!.data;
    return data.length !== old.length || data.some((v, i) => v !== old[i]);
  });
  expect(changed.map(([name]) => name)).toEqual(['classifier.weight', 'classifier.bias']);
  const layers = await runTiny({ ...recipe, adapter, execution: 'blockwise', output: at('head-layers') });
  expect(Math.abs(layers.evaluation!.loss - run.evaluation!.loss)).toBeLessThan(1e-4);
  await expect(
    runTiny({ ...recipe, adapter: { method: 'full', modules: ['score'] }, output: at('no-head') }),
  ).rejects.toMatchObject({ code: 'training/no-module', message: expect.stringContaining('classifier') });
}, 60_000);

it('starts anew at the classes of other folders, though they are as many', async () => {
  const other = writeImages('others', { cyan: [0, 5, 5], pink: [5, 0, 5] }, 2);
  const short = { ...recipe, adapter: { method: 'full', modules: ['classifier'] }, steps: 1 };
  const two = { ...config, id2label: { 0: 'red', 1: 'green' } };
  await writeCheckpoint(
    at('two'),
    two,
    lazyTensors(Object.fromEntries(createModel(two, undefined, 3).weights)),
    {},
  );
  const { events } = await runTiny({ ...short, model: at('two'), data: other, output: at('anew') });
  expect(events).toContainEqual({
    type: 'notice',
    text: expect.stringMatching(/^Freshly.*classifier\.bias/),
  });
});

it('names what is wrong', async () => {
  const broken = writeImages('cut', colours, 2);
  writeFileSync(join(broken, 'red/0.png'), readFileSync(join(broken, 'red/1.png')).subarray(0, 60));
  await expect(runTiny({ ...recipe, data: broken, output: at('cut-run') })).rejects.toMatchObject({
    code: 'data/broken-image',
    message: expect.stringContaining(join(broken, 'red/0.png')),
  });
  const packed = { train: at('train'), packing: 'first-fit' } as const;
  await expect(runTiny({ ...recipe, data: packed, output: at('packed') })).rejects.toThrow(/data\.packing/);
  const wide = { 'preprocessor_config.json': JSON.stringify({ size: { height: 8, width: 12 } }) };
  const { weights } = createModel(config, undefined, 3);
  await writeCheckpoint(at('wide'), config, lazyTensors(Object.fromEntries(weights)), { files: wide });
  await expect(runTiny({ ...recipe, model: at('wide'), output: at('wide-run') })).rejects.toMatchObject({
    code: 'training/image-size',
  });
});
