import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  computedMetrics,
  contents,
  metric,
  runTiny,
  temporaryFolder,
  tinyFolder,
  tinyTexts,
  writeRows,
} from '../../tests/training/tiny-folder.ts';
import { createEngine } from '../engine/index.ts';
import { openTensorFile } from '../formats/index.ts';
import { openModel } from './base-model.ts';
import { createEvaluator } from './evaluation.ts';
import { loadAdapter } from './load-adapter.ts';
import { parseRecipe, type RecipeInput } from './recipe.ts';
import { openFeed } from './sources.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
let llama = '';
let bert = '';
let texts = '';

beforeAll(async () => {
  llama = await tinyFolder(folder, 'llama-tied');
  bert = await tinyFolder(folder, 'bert', 'embedding');
  texts = writeRows(at('texts.jsonl'), tinyTexts(20));
});

const dropped = { method: 'lora', rank: 2, dropout: 0.3 };

describe('an interrupted run', () => {
  const recipes: Record<string, () => RecipeInput> = {
    'LoRA with dropout': () => ({
      model: llama,
      data: { train: texts, holdOut: 4 },
      adapter: dropped,
      rate: 1e-2,
      batch: 3,
      steps: 8,
      evaluateEvery: 3,
      saveEvery: 4,
    }),
    'all weights, packed, accumulated': () => ({
      model: { path: llama, init: 'random' },
      data: { train: texts, holdOut: 4, packing: 'first-fit', maxLength: 48 },
      adapter: 'full',
      optimizer: { method: 'adamw', weightDecay: 0.1 },
      schedule: { kind: 'cosine', warmup: 2 },
      rate: 1e-2,
      batch: 2,
      accumulate: 2,
      steps: 8,
      evaluateEvery: 3,
    }),
    'all weights, layer by layer': () => ({
      model: llama,
      data: texts,
      adapter: 'full',
      rate: 1e-2,
      batch: 3,
      steps: 6,
      clip: 0,
      execution: 'blockwise',
    }),
  };

  it.each(Object.keys(recipes))(
    '%s: resumed, it leaves the bytes of one that was never stopped',
    async (name) => {
      const recipe = recipes[name]();
      const [straight, broken] = [at(`${name}/straight`), at(`${name}/broken`)];
      const whole = await runTiny({ ...recipe, output: straight });
      const first = await runTiny({ ...recipe, output: broken }, { stopAfter: 1 });
      expect(first).toMatchObject({ finished: false, steps: 1 });
      expect(first.artifact).toBeUndefined();
      const second = await runTiny({ ...recipe, output: broken }, { mode: 'resume', stopAfter: 5 });
      expect(second).toMatchObject({ finished: false, steps: 5 });
      expect(second.events).toContainEqual({ type: 'stopped', step: 5, reason: 'interrupted' });
      const third = await runTiny({ ...recipe, output: broken }, { mode: 'resume' });
      expect(third).toMatchObject({ finished: true, steps: whole.steps, loss: whole.loss });
      expect(computedMetrics(broken)).toEqual(computedMetrics(straight));
      const last = `checkpoints/step-${whole.steps}`;
      expect(contents(join(broken, last))).toEqual(contents(join(straight, last)));
      expect(contents(third.artifact!)).toEqual(contents(whole.artifact!));
      expect(metric(straight, 'train/loss').map((m) => m.value)).not.toHaveLength(0);
    },
  );

  it('that was asked to stop after its last update is finished', async () => {
    const recipe = { ...recipes['LoRA with dropout'](), steps: 2, output: at('last') };
    expect(await runTiny(recipe, { stopAfter: 2 })).toMatchObject({
      finished: true,
      artifact: at('last/adapter'),
    });
  });

  it('is refused with another recipe, and takes what changes nothing', async () => {
    const recipe = { ...recipes['LoRA with dropout'](), output: at('other') };
    await runTiny(recipe, { stopAfter: 2 });
    const kept = contents(at('other'));
    for (const [change, field] of [
      [{ rate: 2e-2 }, 'rate = 0.01'],
      [{ adapter: { ...dropped, rank: 3 } }, 'adapter.options.rank = 2'],
      [{ data: { train: texts, holdOut: 5 } }, 'data.holdOut = 4'],
      [{ steps: 9 }, 'steps = 8'],
    ] as const)
      await expect(runTiny({ ...recipe, ...change }, { mode: 'resume' })).rejects.toMatchObject({
        code: 'training/other-recipe',
        message: expect.stringContaining(field),
      });
    expect(contents(at('other'))).toEqual(kept);
    const free = { ...recipe, keep: 5, logEvery: 1, saveEvery: 1 };
    expect(await runTiny(free, { mode: 'resume' })).toMatchObject({ finished: true, steps: 8 });
  });
});

describe('evaluation during a run', () => {
  it('keeps the best checkpoint, stops when patience ends, and stays stopped', async () => {
    const output = at('patience');
    const recipe: RecipeInput = {
      model: llama,
      data: { train: texts, holdOut: 6 },
      adapter: { method: 'lora', rank: 2 },
      schedule: 'constant',
      // So fast that it soon gets worse.
      rate: 1,
      clip: 0,
      batch: 4,
      steps: 40,
      evaluateEvery: 1,
      saveEvery: 100,
      patience: 3,
      keep: 1,
      output,
    };
    const result = await runTiny(recipe);
    const losses = metric(output, 'eval/loss');
    const best = losses.reduce((a, b) => (b.value < a.value ? b : a));
    expect(result.steps).toBe(best.step + 3);
    expect(result.steps).toBeLessThan(40);
    expect(result.events).toContainEqual({ type: 'stopped', step: result.steps, reason: 'patience' });
    expect(
      readdirSync(join(output, 'checkpoints'))
        .filter((f) => f.startsWith('step-'))
        .sort(),
    ).toEqual([best.step, result.steps].map((s) => `step-${s}`).sort());
    const { name, array } = await firstTensor(
      join(output, `checkpoints/step-${best.step}`, 'weights.safetensors'),
    );
    const adapter = await openTensorFile(join(result.artifact!, 'adapter_model.safetensors'));
    const layer = name.replace('#A', '.lora_A.weight');
    const stored = await adapter.read([...adapter.tensors.keys()].find((key) => key.endsWith(layer))!);
    expect(stored.data).toEqual(array.data);
    await adapter.close();
    expect(await runTiny(recipe, { mode: 'resume' })).toMatchObject({ finished: true, steps: result.steps });
  });

  it('measures loss and perplexity of a language model, one program for short last batches too', async () => {
    const output = at('measure');
    await runTiny({ model: llama, data: { train: texts, holdOut: 5 }, batch: 2, steps: 2, output });
    const [loss, perplexity] = ['eval/loss', 'eval/perplexity'].map((name) => metric(output, name));
    expect(loss.map((m) => m.step)).toEqual([1, 2]);
    // A fresh model knows nothing: each of the 2,048 tokens is as likely.
    expect(loss[0].value).toBeCloseTo(Math.log(2048), 1);
    expect(perplexity[1].value).toBeCloseTo(Math.exp(loss[1].value), 6);
    expect(metric(output, 'eval/accuracy')).toEqual([]);
  });

  it('trains a fresh head beside the factors, measures accuracy, and saves both in the adapter', async () => {
    const words = ['good', 'bad'];
    const rows = Array.from({ length: 24 }, (_, i) => ({
      text: `it is ${words[i % 2]} ${i}`,
      label: words[i % 2],
    }));
    const data = { train: writeRows(at('labels.jsonl'), rows), holdOut: 6 };
    const model = { path: bert, task: 'sequence-classification', labels: words } as const;
    const output = at('classes');
    const recipe: RecipeInput = {
      model,
      data,
      adapter: { method: 'lora', rank: 2 },
      rate: 2e-2,
      batch: 6,
      steps: 40,
      output,
    };
    const result = await runTiny(recipe);
    expect(result.evaluation).toMatchObject({ accuracy: 1, targets: 6 });
    const notices = result.events.flatMap((e) => (e.type === 'notice' ? [e.text] : []));
    expect(notices.join(' ')).toContain('classifier.weight');
    const config = JSON.parse(readFileSync(join(result.artifact!, 'adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({ task_type: 'SEQ_CLS', modules_to_save: ['pooler.dense', 'classifier'] });

    // Another seed draws another head, so that everything must come from the adapter.
    const parsed = parseRecipe(recipe);
    const again = await openModel(parsed.model, 99);
    const engine = await createEngine({ threads: 1 });
    const feed = await openFeed(parsed, again);
    const setup = { engine, model: again, trainables: [], seed: 0 };
    const before = await createEvaluator(setup, feed.shapeOf)(feed.validation!());
    expect(before.loss).toBeGreaterThan(0.5);
    const adaptation = await loadAdapter(again, result.artifact!);
    const after = await createEvaluator({ ...setup, adaptation }, feed.shapeOf)(feed.validation!());
    expect(after.accuracy).toBe(1);
    expect(after.loss).toBeCloseTo(result.evaluation!.loss, 5);
    await engine.dispose();
  });
});

async function firstTensor(path: string) {
  const file = await openTensorFile(path);
  const name = [...file.tensors.keys()].find((key) => key.endsWith('#A'))!;
  const array = await file.read(name);
  await file.close();
  return { name, array };
}

it('stops at a loss that is not finite, and keeps the last checkpoint', async () => {
  const output = at('infinite');
  const recipe: RecipeInput = {
    model: llama,
    data: texts,
    adapter: { method: 'lora', rank: 2 },
    schedule: { kind: 'constant', warmup: 3 },
    rate: 1e25,
    clip: 0,
    batch: 4,
    steps: 20,
    saveEvery: 1,
    output,
  };
  await expect(runTiny(recipe)).rejects.toMatchObject({
    code: 'training/not-finite',
    message: expect.stringMatching(/^Update \d+: the (output of|tensor|gradient of) .+ is not finite\./),
  });
  const steps = metric(output, 'train/loss').map((m) => m.step);
  expect(steps.length).toBeGreaterThan(0);
  const last = join(output, 'checkpoints', `step-${steps.at(-1)}`);
  const { array } = await firstTensor(join(last, 'weights.safetensors'));
  expect([...(array.data as Float32Array)].every(Number.isFinite)).toBe(true);
});

it('refuses rows that are longer than the model takes', async () => {
  const recipe: RecipeInput = { model: llama, data: { train: texts, maxLength: 65 }, output: at('long') };
  await expect(runTiny(recipe)).rejects.toMatchObject({
    code: 'training/too-long',
    message: expect.stringContaining('64'),
  });
});

it('says how many examples it cut', async () => {
  const rows = writeRows(at('long.jsonl'), [...tinyTexts(3), { text: 'word '.repeat(200) }]);
  const data = { train: rows, truncation: 'keep-start' } as const;
  const result = await runTiny({ model: llama, data, batch: 2, steps: 1, output: at('cut') });
  expect(result.events).toContainEqual({
    type: 'notice',
    text: expect.stringMatching(/^1 examples were cut to the maximal length; \d+ tokens were dropped\.$/),
  });
});

describe('the length of a run', () => {
  const cases: [Partial<RecipeInput>, number][] = [
    [{ steps: 3 }, 3],
    [{}, 3],
    [{ epochs: 2 }, 6],
    [{ epochs: 0.5 }, 2],
    [{ epochs: 2, accumulate: 2 }, 3],
  ];
  it.each(cases)('%o over 10 rows in batches of 4: %i updates', async (fields, updates) => {
    const rows = writeRows(at('ten.jsonl'), tinyTexts(10));
    const output = at(`length-${JSON.stringify(fields)}`);
    const result = await runTiny({ model: llama, data: rows, batch: 4, ...fields, output });
    expect(result).toMatchObject({ steps: updates, total: updates });
  });
});

describe('a stream', () => {
  it('gives the losses of the same rows in memory', async () => {
    const recipe: RecipeInput = { model: llama, data: texts, batch: 4, steps: 7, rate: 1e-2 };
    await runTiny({ ...recipe, output: at('memory') });
    await runTiny({ ...recipe, data: { train: texts, stream: true, maxLength: 40 }, output: at('stream') });
    const [memory, stream] = ['memory', 'stream'].map((name) => metric(at(name), 'train/loss'));
    expect(stream).toHaveLength(7);
    for (const [i, { value }] of stream.entries()) expect(value).toBeCloseTo(memory[i].value, 4);
  });

  it('has no epochs', async () => {
    const data = { train: texts, stream: true };
    await expect(runTiny({ model: llama, data, epochs: 1, output: at('endless') })).rejects.toMatchObject({
      code: 'training/unknown-epochs',
    });
  });
});

it('draws a model of its own with the classes that are asked for', async () => {
  const model = await openModel(
    { path: bert, init: 'random', task: 'sequence-classification', labels: 5 },
    1,
  );
  expect(model.weights.get('classifier.weight')!.shape).toEqual([5, 16]);
});
