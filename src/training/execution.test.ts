import { describe, expect, it } from 'vitest';
import {
  furthest,
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
import type { Execution, Setup } from './execution.ts';
import { wholeExecution } from './whole.ts';

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

async function stepOf(
  execution: Execution,
  batch: AnyBatch,
  shape: BatchShape,
  resting?: ReadonlySet<string>,
): Promise<StepResult> {
  const gradients = new Map<string, NDArray>();
  const consume = (name: string, g: NDArray) => {
    gradients.set(name, { ...g, data: g.data.slice() });
    execution.release(name);
  };
  const feeds = batchFeeds(batch, shape, targetCount(batch));
  const loss = await execution.step(feeds, shape, 3, { consume, resting });
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
  const losses = [3, 3, 4].map((draw) => () => execution.step(feeds, shape, draw, { consume() {} }));
  const [first, again, other] = [await losses[0](), await losses[1](), await losses[2]()];
  expect(again).toBe(first);
  expect(other).not.toBe(first);
  await setup.engine.dispose();
});

describe.each([
  ['whole', wholeExecution],
  ['blockwise', blockwiseExecution],
] as const)('%s: what rests', (_, create) => {
  it.each(['llama-tied', 'gpt2'] as const)('of %s has no gradient; all else has the same', async (model) => {
    const { setup, batch, shape } = await prepared({ model, tensors: 1 });
    const names = setup.trainables.map((t) => t.info.name);
    const blocks = [0, 1].map((i) => names.filter((name) => name.includes(`.${i}.`)));
    const rest = names.filter((name) => !blocks.flat().includes(name));
    const all = await stepOf(create(setup), batch, shape);
    const execution = create(setup);
    // Back and forth: programs and arrays of a turn are made anew.
    for (const moving of [blocks[0], blocks[1], rest, names, blocks[0]]) {
      const resting = new Set(names.filter((name) => !moving.includes(name)));
      const { loss, gradients } = await stepOf(execution, batch, shape, resting);
      expect(loss).toBeCloseTo(all.loss, 5);
      expect([...gradients.keys()].sort()).toEqual(moving.toSorted());
      for (const [name, got] of gradients)
        expect(furthest([got], [all.gradients.get(name)!]), name).toBeLessThan(1e-5);
    }
    await setup.engine.dispose();
  });

  it('takes no memory: arrays and programs are those of one turn', async () => {
    const { setup, batch, shape } = await prepared(cases['gpt2, all weights']);
    const { engine } = setup;
    const names = setup.trainables.map((t) => t.info.name);
    const turns = [0, 1].map((i) => new Set(names.filter((name) => !name.includes(`.${i}.`))));
    const execution = create(setup);
    const held: { bytes: number; sessions: number }[] = [];
    for (const turn of [0, 1, 0, 1]) {
      await stepOf(execution, batch, shape, turns[turn]);
      held.push({ bytes: engine.ledger.byKind().gradients ?? 0, sessions: engine.sessions });
    }
    const block = setup.trainables.filter((t) => t.info.name.includes('.0.'));
    const bytes = block.reduce((n, t) => n + t.array.data.byteLength, 0);
    for (const { bytes: now } of held) expect(now).toBeLessThanOrEqual(bytes);
    expect(held.slice(2)).toEqual(held.slice(0, 2));
    await engine.dispose();
  });
});
