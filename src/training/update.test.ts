import { expect, it, vi } from 'vitest';
import { z } from 'zod';
import {
  furthest,
  type TinyName,
  tinyBatch,
  tinyModel,
  tinySetup,
  tinyUpdater,
} from '../../tests/training/tiny.ts';
import { type AdapterOptions, adapterOptions, type WeightForm } from '../adapters/index.ts';
import type { Batch } from '../data/index.ts';
import type { Engine } from '../engine/index.ts';
import { add, matmul, mul, type NDArray, square, sub, sum, zeros } from '../graph/index.ts';
import type { OptimizerMethod } from '../optimizers/index.ts';
import { batchShape } from './batch-feeds.ts';
import type { Setup } from './execution.ts';
import { clipFactor, globalNorm } from './gradient-norm.ts';
import { trainables } from './trainables.ts';

const sgd = { optimizer: 'sgd', rate: 0.5 } as const;

function shapeOf(batch: Batch) {
  return batchShape(batch.shape, { labelled: false, causal: true, packed: false, pairs: false });
}

function copies(setup: Setup): NDArray[] {
  return setup.trainables.map(({ array }) => ({ ...array, data: array.data.slice() }));
}

/** Several batches of the same length as one. */
function joined(batches: readonly Batch[]): Batch {
  const all = (key: 'inputIds' | 'targets' | 'segmentIds' | 'positionIds') =>
    Int32Array.from(batches.flatMap((b) => [...b[key]]));
  const add = (key: 'tokens' | 'targetCount') => batches.reduce((n, b) => n + b[key], 0);
  return {
    ...batches[0],
    shape: [batches.reduce((n, b) => n + b.shape[0], 0), batches[0].shape[1]],
    inputIds: all('inputIds'),
    targets: all('targets'),
    segmentIds: all('segmentIds'),
    positionIds: all('positionIds'),
    tokens: add('tokens'),
    targetCount: add('targetCount'),
  };
}

it.each(['whole', 'blockwise'] as const)(
  '%s: three batches added up move the weights as one batch of all their rows',
  async (execution) => {
    const batches = [1, 2, 3].map((seed) => tinyBatch(2, 12, { seed }));
    expect(new Set(batches.map((b) => b.targetCount)).size).toBeGreaterThan(1);
    const [many, one] = [await tinySetup(tinyModel('llama-tied')), await tinySetup(tinyModel('llama-tied'))];
    const start = copies(many);
    const big = joined(batches);
    const separate = tinyUpdater(many, {
      ...sgd,
      execution,
      batches,
      shape: shapeOf(batches[0]),
      accumulate: 3,
    });
    const together = tinyUpdater(one, { ...sgd, execution, batches: [big], shape: shapeOf(big) });
    const [a, b] = [await separate.update(), await together.update()];
    expect(a.loss).toBeCloseTo(b.loss, 5);
    expect(a.tokens).toBe(b.tokens);
    expect(furthest(start, copies(one))).toBeGreaterThan(1e-2);
    expect(furthest(copies(many), copies(one))).toBeLessThan(1e-5);
  },
);

/** W₀ + B A with the penalty ½ ‖B A‖² a layer. */
const penalized: WeightForm = {
  name: 'penalized',
  title: 'For this test',
  paper: 'none',
  trainable: 'r (m + n)',
  whenToChoose: 'Never.',
  options: adapterOptions,
  kinds: ['linear'],
  shapes: (layer, o) => ({ trainable: { A: [o.rank, layer.in], B: [layer.out, o.rank] }, frozen: {} }),
  init: (layer, o) => ({
    trainable: { A: zeros([o.rank, layer.in]), B: zeros([layer.out, o.rank]) },
    frozen: {},
  }),
  weight: (base, p) => add(base, matmul(p.B, p.A)),
  penalty: (p) => mul(sum(square(matmul(p.B, p.A))), 0.5),
};

async function penalizedSetup(): Promise<Setup> {
  const model = tinyModel('llama');
  const { engine, adaptation } = await tinySetup(model, { method: 'lora', options: { targets: ['q_proj'] } });
  const own = { ...adaptation!, form: penalized, options: adaptation!.options as AdapterOptions };
  return { engine, model, adaptation: own, trainables: trainables(model, own), seed: 1 };
}

it.each(['whole', 'blockwise'] as const)(
  '%s: a penalty counts once an update, however many batches',
  async (execution) => {
    const batches = [1, 2, 3].map((seed) => tinyBatch(2, 12, { seed }));
    const [many, one] = [await penalizedSetup(), await penalizedSetup()];
    const big = joined(batches);
    await tinyUpdater(many, {
      ...sgd,
      execution,
      batches,
      shape: shapeOf(batches[0]),
      accumulate: 3,
    }).update();
    await tinyUpdater(one, { ...sgd, execution, batches: [big], shape: shapeOf(big) }).update();
    expect(furthest(copies(many), copies(one))).toBeLessThan(1e-5);
  },
);

it('clips by the norm of all gradients together', async () => {
  const batch = tinyBatch(2, 12);
  const run = { ...sgd, batches: [batch], shape: shapeOf(batch) };
  const [free, clipped, wide] = await Promise.all(
    [0, 1, 2].map(() => tinySetup(tinyModel('gpt2'), { method: 'lora' })),
  );
  const start = copies(free);
  const report = await tinyUpdater(free, { ...run, clip: 1e9 }).update();
  // SGD: the gradient is what the weights moved by, divided by the rate.
  const gradients = copies(free).map((after, i) => ({
    ...after,
    data: Float32Array.from(after.data as Float32Array, (v, k) => (Number(start[i].data[k]) - v) / sgd.rate),
  }));
  expect(report.norm).toBeCloseTo(globalNorm(gradients), 4);
  const limit = report.norm / 3;
  const second = await tinyUpdater(clipped, { ...run, clip: limit }).update();
  expect(second.norm).toBe(report.norm);
  const expected = start.map((before, i) => ({
    ...before,
    data: Float32Array.from(
      before.data as Float32Array,
      (v, k) => v - sgd.rate * gradients[i].data[k] * (limit / (report.norm + 1e-6)),
    ),
  }));
  expect(furthest(copies(clipped), expected)).toBeLessThan(1e-6);
  await tinyUpdater(wide, { ...run, clip: report.norm * 2 }).update();
  expect(furthest(copies(wide), copies(free))).toBe(0);
});

it.each(['whole', 'blockwise'] as const)(
  '%s: blocks that take turns have gradients in their own turn alone, and so has their norm',
  async (execution) => {
    const batch = tinyBatch(2, 12);
    const run = { batches: [batch], shape: shapeOf(batch), execution } as const;
    const [all, turning] = [await tinySetup(tinyModel('gpt2')), await tinySetup(tinyModel('gpt2'))];
    const start = copies(all);
    await tinyUpdater(all, { ...run, ...sgd }).update();
    const first = (name: string) => name.includes('h.0.');
    const moved = copies(all).flatMap((after, i) => {
      if (!first(all.trainables[i].info.name)) return [];
      const data = (after.data as Float32Array).map((v, k) => (Number(start[i].data[k]) - v) / sgd.rate);
      return [{ ...after, data }];
    });
    const held = watchGradients(turning.engine);
    const optimizerOptions = { gap: 1, order: 'ascending', others: 'frozen' };
    const { update } = tinyUpdater(turning, { ...run, optimizer: 'badam', optimizerOptions, clip: 1e9 });
    expect((await update()).norm).toBeCloseTo(globalNorm(moved), 4);
    for (const [i, after] of copies(turning).entries()) {
      const { name } = turning.trainables[i].info;
      expect(furthest([after], [start[i]]) > 0, name).toBe(first(name));
    }
    for (let i = 0; i < 3; i++) await update();
    expect(held()).toBe(bytesOf(turning, first));
  },
);

it('never enlarges gradients, and clips nothing at limit 0', () => {
  expect(clipFactor(0.5, 1)).toBe(1);
  expect(clipFactor(2, 1)).toBeCloseTo(0.5, 6);
  expect(clipFactor(1e9, 0)).toBe(1);
});

/** Most bytes of gradients that were alive at once. */
function watchGradients({ ledger }: Engine): () => number {
  let most = 0;
  const hold = ledger.hold.bind(ledger);
  vi.spyOn(ledger, 'hold').mockImplementation((kind, name, bytes) => {
    hold(kind, name, bytes);
    most = Math.max(most, ledger.byKind().gradients ?? 0);
  });
  return () => most;
}

function bytesOf(setup: Setup, belongs: (name: string) => boolean): number {
  return setup.trainables
    .filter((t) => belongs(t.info.name))
    .reduce((n, t) => n + t.array.data.byteLength, 0);
}

it.each<{ model: TinyName; layer: (name: string) => boolean }>([
  { model: 'llama', layer: (name) => name.includes('layers.0.') },
  // The head's part of the tied table waits for the embedding's.
  { model: 'gpt2', layer: (name) => name.includes('h.0.') || name.includes('wte') },
])('$model, blockwise without clipping: one layer’s gradients at a time', async ({ model, layer }) => {
  const batch = tinyBatch(2, 12);
  const run = { batches: [batch], shape: shapeOf(batch), rate: 1e-3 } as const;
  const [blockwise, whole] = [await tinySetup(tinyModel(model)), await tinySetup(tinyModel(model))];
  const [held, heldWhole] = [watchGradients(blockwise.engine), watchGradients(whole.engine)];
  const { update } = tinyUpdater(blockwise, { ...run, execution: 'blockwise' });
  const all = tinyUpdater(whole, run);
  for (let i = 0; i < 3; i++) expect((await update()).norm).toBeNaN();
  for (let i = 0; i < 3; i++) await all.update();
  expect(held()).toBe(bytesOf(blockwise, layer));
  expect(heldWhole()).toBe(bytesOf(whole, () => true));
  expect(blockwise.engine.ledger.byKind().gradients ?? 0).toBe(0);
  expect(blockwise.engine.ledger.byKind().activations ?? 0).toBe(0);
  expect(furthest(copies(blockwise), copies(whole))).toBeLessThan(1e-5);
});

/** Gradient descent whose one rule needs every gradient at once. */
const allAtOnce: OptimizerMethod = {
  name: 'all-at-once',
  title: 'For this test',
  paper: 'none',
  whenToChoose: 'Never.',
  stateFormula: '0',
  options: z.strictObject({}),
  rules: (parameters) => [
    {
      parameters,
      state: {},
      update: ({ parameters: p, gradients, rate }) => ({
        parameters: p.map((tensor, i) => sub(tensor, mul(gradients[i], rate))),
        state: {},
      }),
    },
  ],
};

it('layer by layer, keeps what a rule over all layers waits for', async () => {
  const batch = tinyBatch(2, 12);
  const run = { batches: [batch], shape: shapeOf(batch), rate: 0.5, execution: 'blockwise' } as const;
  const [one, each] = [await tinySetup(tinyModel('llama')), await tinySetup(tinyModel('llama'))];
  await tinyUpdater(one, { ...run, optimizer: allAtOnce }).update();
  await tinyUpdater(each, { ...run, optimizer: 'sgd' }).update();
  expect(furthest(copies(one), copies(each))).toBeLessThan(1e-6);
});

it('keeps all gradients only until a clipped update is done', async () => {
  const batch = tinyBatch(2, 12);
  const setup = await tinySetup(tinyModel('gpt2'));
  const held = watchGradients(setup.engine);
  const run = { batches: [batch], shape: shapeOf(batch), clip: 1, execution: 'blockwise' } as const;
  await tinyUpdater(setup, run).update();
  expect(held()).toBe(bytesOf(setup, () => true));
  expect(setup.engine.ledger.byKind().gradients ?? 0).toBe(0);
});

it.each(['whole', 'blockwise'] as const)(
  '%s: names the update and the first tensor that is not finite',
  async (execution) => {
    const batch = tinyBatch(2, 12);
    const run = {
      batches: [batch],
      shape: shapeOf(batch),
      execution,
      clip: execution === 'whole' ? 1 : 0,
    } as const;
    const broken = await tinySetup(tinyModel('llama'), { method: 'lora' });
    const { update } = tinyUpdater(broken, run);
    await update();
    const layer = broken.adaptation!.layers.find((l) => l.spec.name.endsWith('layers.1.mlp.up_proj'))!;
    layer.trainable.A.data[3] = Number.NaN;
    await expect(update()).rejects.toMatchObject({
      code: 'training/not-finite',
      message: expect.stringContaining('Update 2: the tensor model.layers.1.mlp.up_proj#A is not finite'),
    });

    const huge = await tinySetup(tinyModel('llama'));
    const [gate, up] = ['gate', 'up'].map(
      (p) => huge.model.weights.get(`model.layers.1.mlp.${p}_proj.weight`)!,
    );
    (gate.data as Float32Array).fill(1e25);
    (up.data as Float32Array).fill(1e25);
    await expect(tinyUpdater(huge, run).update()).rejects.toMatchObject({
      code: 'training/not-finite',
      message: expect.stringContaining('Update 1: the output of block 1 is not finite'),
    });
  },
);
