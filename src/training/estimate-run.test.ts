import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { tinyConfigs, tinySetup, tinyUpdater } from '../../tests/training/tiny.ts';
import { createModel, modelInfo } from '../models/index.ts';
import { architectureOf } from '../models/registry.ts';
import { optimizers } from '../optimizers/index.ts';
import { modelConfig } from './base-model.ts';
import { batchShape } from './batch-feeds.ts';
import { estimateMemory } from './estimate.ts';
import { estimateRun, type RunEstimate } from './estimate-run.ts';
import { proposeFitting } from './proposals.ts';
import { parseRecipe, type RecipeInput } from './recipe.ts';
import { runShapes } from './run-shapes.ts';
import { spendsTogether } from './update.ts';

const base = new URL('../../quickstart/base', import.meta.url).pathname;
const data = new URL('../../quickstart/data/train.jsonl', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'rankine-estimate-'));
afterAll(() => rmSync(folder, { recursive: true }));

const packed = { train: 'nothing is read of it', packing: 'sequential', maxLength: 64 } as const;
const pretraining = (path: string, rest: Partial<RecipeInput> = {}): RecipeInput => ({
  model: { path, init: 'random' },
  data: packed,
  adapter: 'full',
  batch: 2,
  ...rest,
});
const parts = ({ weights, adapter, gradients, optimizer, activations, data, runtime }: RunEstimate) =>
  weights + adapter + gradients + optimizer + activations + data + runtime;

/** The optimizer on all weights, or on factors where it needs some; projections to a rank that fits tiny matrices. */
function optimized({ name, options }: (typeof optimizers)[number]): [string, Partial<RecipeInput>] {
  const projects = 'rank' in ((options as { shape?: object }).shape ?? {});
  const optimizer = { method: name, ...(projects ? { rank: 4 } : {}) };
  const full: Partial<RecipeInput> = { adapter: 'full', optimizer };
  try {
    runShapes(parseRecipe({ model: 'm', data: 'd', ...full }), tinyConfigs.llama);
    return [name, full];
  } catch (error) {
    expect(error).toMatchObject({ code: 'optimizers/no-factors' });
    return [name, { adapter: { method: 'lora', rank: 4, alpha: 4 }, optimizer }];
  }
}

// What must agree with a run whose arrays exist; the forms' own shapes are compared in their contract.
const runs: [string, Partial<RecipeInput>][] = [
  ...optimizers.map(optimized),
  ...['lora', 'vera', 'adalora', 'increlora'].map((method): [string, Partial<RecipeInput>] => [
    method,
    { adapter: { method, rank: 2 } },
  ]),
];

describe.each(['whole', 'blockwise'] as const)('%s', (execution) => {
  it.each(runs)('%s: counts without arrays what it counts of arrays', async (_, chosen) => {
    const config = tinyConfigs.llama;
    // The seed of the tiny run: it draws which blocks take turns.
    const recipe = parseRecipe({ model: 'm', data: 'd', clip: 0, seed: 9, ...chosen, execution });
    const shapes = runShapes(recipe, config);
    const adapter = recipe.adapter.method === 'full' ? undefined : recipe.adapter;
    const setup = await tinySetup(createModel(config, 'language-modelling', 0), adapter);
    const shape = batchShape([2, 8], { labelled: false, causal: true, packed: false, pairs: false });
    const { optimizer, optimizerOptions } = {
      optimizer: recipe.optimizer.method,
      optimizerOptions: recipe.optimizer.options,
    };
    const { live } = tinyUpdater(setup, { batches: [], shape, optimizer, optimizerOptions });
    const options = {
      execution,
      together: spendsTogether(recipe, setup.adaptation?.steps),
      sums: false,
      evaluates: true,
    };
    expect(spendsTogether(recipe, shapes.adaptation?.steps)).toBe(options.together);
    const formState = Object.values(setup.adaptation?.steps?.state ?? {}).reduce(
      (n, a) => n + a.data.byteLength,
      0,
    );
    expect(shapes.formState).toBe(formState);
    const real = estimateMemory(setup, live.updates.rules, shape, { ...options, formState });
    expect(estimateMemory(shapes, shapes.rules, shape, { ...options, formState })).toEqual(real);
  });
});

describe('a recipe’s estimate', () => {
  it('adds up, from config.json and the data’s lengths alone', async () => {
    const estimate = await estimateRun({ model: base, data, adapter: 'lora', batch: 4 });
    // The longest example of the quickstart has 47 tokens; rows are rounded up to 48.
    expect(estimate).toMatchObject({ rows: 4, length: 48, parameters: 4_152_064, trainable: 184_960 });
    expect(estimate.weights).toBe(4 * 4_152_064);
    expect(estimate.adapter).toBe(4 * 184_960);
    expect(estimate.optimizer).toBe(8 * 184_960);
    expect(parts(estimate)).toBeCloseTo(estimate.peak);
    expect(await estimateRun({ model: base, data, batch: 4 }, { length: 48 })).toEqual(estimate);
    // As tokens, with what tokenizing leaves; nothing where the text is streamed.
    const { size } = statSync(data);
    expect(estimate.data).toBeCloseTo((8 / 3 + 10) * size);
    const streamed = { train: data, stream: true, maxLength: 48 };
    const run = { model: base, data: streamed, adapter: 'lora', batch: 4, steps: 1 };
    expect((await estimateRun(run)).data).toBe(0);
  });

  it('knows what each choice costs', async () => {
    const of = (rest: Partial<RecipeInput>) => estimateRun(pretraining('llama-60m', rest));
    const [whole, blockwise, summed] = [
      await of({ execution: 'whole' }),
      await of({ execution: 'blockwise', clip: 0 }),
      await of({ execution: 'blockwise', clip: 0, accumulate: 2 }),
    ];
    expect(whole).toMatchObject({ weights: 4 * 58_073_600, optimizer: 8 * 58_073_600 });
    expect(whole.gradients).toBe(4 * 58_073_600);
    // The embedding, whose array the head takes too, and one block, whose last norm too.
    const lent = 4 * (32_000 * 512 + 4 * 512 ** 2 + 3 * 512 * 1376 + 2 * 512);
    expect(blockwise.gradients).toBe(lent);
    expect(summed.gradients).toBe(lent + 4 * 58_073_600);
    // Matrices and head: one byte a number for each moment, and two scales for 256; the others keep 32 bits.
    const matrices = 8 * (4 * 512 ** 2 + 3 * 512 * 1376) + 32_000 * 512;
    const eight = (await of({ optimizer: 'adam-8bit' })).optimizer;
    expect(eight).toBe(2 * (1 + 4 / 256) * matrices + 8 * (58_073_600 - matrices));
    expect((await of({ optimizer: 'sign-sgd' })).optimizer).toBe(0);
  });

  it('refuses what cannot be: no model, no configuration, a rank that does not fit', async () => {
    const fails = (input: RecipeInput, code: string) =>
      expect(estimateRun(input)).rejects.toMatchObject({ code });
    await fails({ model: join(folder, 'missing'), data }, 'formats/not-found');
    await fails({ model: folder, data }, 'formats/missing-file');
    await fails({ model: base, data: join(folder, 'missing.jsonl') }, 'data/no-file');
    await fails({ model: base, data, adapter: { method: 'pissa', rank: 129 } }, 'adapters/rank');
    await fails({ model: 'llama-60m', data }, 'training/no-weights');
  });

  it('follows auto: one graph while it fits', async () => {
    const recipe = pretraining('llama-twin', { data: { ...packed, maxLength: 512 }, batch: 64 });
    expect(await estimateRun(recipe, { available: 1e12 })).toMatchObject({ execution: 'whole' });
    expect(await estimateRun(recipe, { available: 1e9 })).toMatchObject({ execution: 'blockwise' });
  });
});

describe('shapes that come with the package', () => {
  // Totals and hidden matrices in millions, as the papers' tables have them.
  it.each([
    ['llama-60m', 58.1, 25.3],
    ['llama-130m', 134.1, 84.9],
    ['llama-350m', 368.0, 302.4],
    ['llama-1b', 1339, 1207.9],
    ['llama-7b', 6738, 6476],
  ])('%s has %d M weights, %d M of them in matrices', async (path, total, hidden) => {
    const architecture = architectureOf(await modelConfig({ path, init: 'random' }));
    const { parameters } = modelInfo(architecture);
    expect(Math.abs(parameters / 1e6 - total)).toBeLessThanOrEqual(total > 1000 ? 0.6 : 0.06);
    const matrices = architecture.layers.filter((l) => l.kind === 'linear' && l.block !== undefined);
    const inside = matrices.reduce((n, l) => n + l.out * l.in, 0);
    expect(Math.abs(inside / 1e6 - hidden)).toBeLessThanOrEqual(hidden > 1500 ? 0.6 : 0.06);
  });

  it('a folder of that name goes first', async () => {
    const before = process.cwd();
    mkdirSync(join(folder, 'llama-60m'));
    writeFileSync(join(folder, 'llama-60m/config.json'), '{"model_type":"own"}');
    process.chdir(folder);
    try {
      const own = await modelConfig({ path: 'llama-60m', init: 'random' });
      expect(own).toEqual({ model_type: 'own' });
    } finally {
      process.chdir(before);
    }
  });
});

describe('proposals', () => {
  const recipe = parseRecipe(pretraining('llama-60m', { batch: 8, execution: 'whole' }));

  it('are none where the run fits', async () => {
    expect(await proposeFitting(recipe, 1e12)).toMatchObject({ fitting: [] });
  });

  it('fit, keep the batch, and need less time the more they lose', async () => {
    const { estimate } = await proposeFitting(recipe, 1e12);
    const { fitting } = await proposeFitting(recipe, 0.97 * estimate.peak);
    expect(fitting.length).toBeGreaterThan(0);
    expect(fitting[0].loss).toBeUndefined();
    for (const { changes, estimate: own } of fitting) {
      expect(own.peak).toBeLessThanOrEqual(0.97 * estimate.peak);
      const { batch = 8, accumulate = 1 } = changes;
      expect(Number(batch) * Number(accumulate)).toBe(8);
    }
  });

  it('combine losses where none is enough alone, and say what takes least where nothing fits', async () => {
    const { estimate } = await proposeFitting(recipe, 1e12);
    const { fitting } = await proposeFitting(recipe, 0.55 * estimate.peak);
    expect(fitting.at(-1)!.changes).toMatchObject({ 'adapter.method': 'lora' });
    const { smallest, fitting: none } = await proposeFitting(recipe, 1e8);
    expect(none).toEqual([]);
    expect(smallest!.estimate.peak).toBeGreaterThan(1e8);
  });
});
