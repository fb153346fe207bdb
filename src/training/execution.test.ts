import { expect, it } from 'vitest';
import {
  type TinyAdapter,
  type TinyName,
  tinyBatch,
  tinyLabelled,
  tinyModel,
  tinySetup,
} from '../../tests/training/tiny.ts';
import type { NDArray } from '../graph/index.ts';
import { type AnyBatch, type BatchShape, batchFeeds, batchShape, targetCount } from './batch-feeds.ts';
import { blockwiseExecution } from './blockwise.ts';
import { type Execution, type Setup, wholeExecution } from './execution.ts';

interface Case {
  readonly model: TinyName;
  readonly adapter?: TinyAdapter;
  readonly batch?: 'packed' | 'labelled';
  /** Fewest tensors that must be trained: the case tests nothing otherwise. */
  readonly tensors: number;
}

const cases: Record<string, Case> = {
  'llama, all weights, tied': { model: 'llama-tied', tensors: 20 },
  'llama, all weights, untied': { model: 'llama', tensors: 21 },
  'gpt2, all weights': { model: 'gpt2', tensors: 28 },
  'llama, packed': { model: 'llama', batch: 'packed', tensors: 21 },
  'gpt2, packed': { model: 'gpt2', batch: 'packed', tensors: 28 },
  'llama, LoRA': { model: 'llama', adapter: { method: 'lora' }, tensors: 28 },
  'gpt2, LoRA': { model: 'gpt2', adapter: { method: 'lora' }, tensors: 16 },
  'llama, LoRA with dropout': {
    model: 'llama',
    adapter: { method: 'lora', options: { dropout: 0.3 } },
    tensors: 28,
  },
  'gpt2, LoRA with dropout and biases': {
    model: 'gpt2',
    adapter: { method: 'lora', options: { dropout: 0.3, bias: 'all' } },
    tensors: 29,
  },
  'llama, LoRA on the upper block alone': {
    model: 'llama',
    adapter: { method: 'lora', options: { targets: '.*layers\\.1\\..*q_proj' } },
    tensors: 2,
  },
  'llama, DoRA': { model: 'llama-tied', adapter: { method: 'dora' }, tensors: 42 },
  'gpt2, DoRA with dropout': {
    model: 'gpt2',
    adapter: { method: 'dora', options: { dropout: 0.2 } },
    tensors: 24,
  },
  'llama, LoRA on tied embeddings': {
    model: 'llama-tied',
    adapter: { method: 'lora', options: { targets: ['embed_tokens', 'q_proj'] } },
    tensors: 6,
  },
  'bert, all weights, classes': { model: 'bert', batch: 'labelled', tensors: 35 },
  'bert, LoRA, classes, whole head': {
    model: 'bert',
    adapter: { method: 'lora', options: { modulesToSave: ['classifier'], targets: ['query', 'value'] } },
    batch: 'labelled',
    tensors: 10,
  },
};

interface StepResult {
  readonly loss: number;
  readonly gradients: Map<string, NDArray>;
}

async function stepOf(execution: Execution, batch: AnyBatch, shape: BatchShape): Promise<StepResult> {
  const gradients = new Map<string, NDArray>();
  const loss = await execution.step(batchFeeds(batch, shape, targetCount(batch)), shape, 3, (name, g) => {
    gradients.set(name, { ...g, data: g.data.slice() });
    execution.release(name);
  });
  return { loss, gradients };
}

async function prepared({ model, adapter, batch: kind }: Case): Promise<{
  setup: Setup;
  batch: AnyBatch;
  shape: BatchShape;
}> {
  const labelled = kind === 'labelled';
  const setup = await tinySetup(tinyModel(model, labelled ? 'sequence-classification' : undefined), adapter);
  const batch = labelled ? tinyLabelled(3, 12) : tinyBatch(3, 12, { packed: kind === 'packed' });
  return {
    setup,
    batch,
    shape: batchShape(batch.shape, {
      labelled,
      causal: !labelled,
      packed: kind === 'packed',
      pairs: labelled,
    }),
  };
}

it.each(Object.entries(cases))('%s: whole and blockwise give one loss and one gradient', async (_, c) => {
  const { setup, batch, shape } = await prepared(c);
  const whole = await stepOf(wholeExecution(setup), batch, shape);
  const blockwise = await stepOf(blockwiseExecution(setup), batch, shape);
  expect(setup.trainables.length).toBeGreaterThanOrEqual(c.tensors);
  expect([...blockwise.gradients.keys()].sort()).toEqual(setup.trainables.map((t) => t.info.name).sort());
  expect(blockwise.loss).toBeCloseTo(whole.loss, 5);
  for (const [name, expected] of whole.gradients) {
    const got = blockwise.gradients.get(name)!;
    const scale = Math.max(...(expected.data as Float32Array).map(Math.abs));
    const error = Math.max(
      ...(expected.data as Float32Array).map((v, i) => Math.abs(v - Number(got.data[i]))),
    );
    expect(scale, `${name} has a gradient`).toBeGreaterThan(0);
    expect(error, name).toBeLessThan(1e-5 * Math.max(1, scale));
  }
  await setup.engine.dispose();
});

it('draws the same noise in both executions, and another for another draw', async () => {
  const { setup, batch, shape } = await prepared(cases['llama, LoRA with dropout']);
  const execution = blockwiseExecution(setup);
  const feeds = batchFeeds(batch, shape, targetCount(batch));
  const losses = [3, 3, 4].map((draw) => () => execution.step(feeds, shape, draw, () => {}));
  const [first, again, other] = [await losses[0](), await losses[1](), await losses[2]()];
  expect(again).toBe(first);
  expect(other).not.toBe(first);
  await setup.engine.dispose();
});
