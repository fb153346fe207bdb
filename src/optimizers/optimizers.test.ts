import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine, type Engine } from '../engine/index.ts';
import { optimizers } from './index.ts';
import { optimizerContract } from './optimizer.contract.ts';

/** Options that fit the contract's small tensors, and variants that take other ways through a method. */
const variants: Record<string, Record<string, unknown>[]> = {
  allora: [{}, { moments: 'none', norm: 'matrix', cap: 2 }],
  gradnormlorp: [
    { rank: 2, gap: 20 },
    { rank: 2, gap: 20, mode: 'reference' },
    { rank: 2, gap: 20, bits: 8, smallest: 1, epsilon: 1e-3 },
    // The magnitudes keep 32 bits.
    { rank: 2, gap: 20, bits: 8, smallest: 8, epsilon: 1e-3 },
  ],
  'lora-pro': [{}, { moments: 'light' }, { moments: 'none' }],
  'adam-8bit': [{ smallest: 1, embeddings: '8-bit' }],
  adamw: [{}, { form: 'hf' }],
  adafactor: [{}, { beta1: 0.9 }],
  apollo: [{ rank: 2, gap: 20, scale: 4 }],
  'apollo-mini': [{ gap: 20, scale: 4 }],
  badam: [{ gap: 2 }],
  galore: [
    { rank: 2, gap: 20 },
    { rank: 2, gap: 20, projection: 'full' },
    { rank: 2, gap: 20, bits: 8, smallest: 1, epsilon: 1e-3 },
  ],
  fira: [
    { rank: 2, gap: 20 },
    { rank: 2, gap: 20, bits: 8, smallest: 1 },
  ],
  frugal: [
    { gap: 2 },
    { gap: 20, split: 'columns', density: 0.5 },
    { gap: 20, split: 'entries', density: 0.5, stateful: 'lion' },
    { gap: 20, split: 'svd', density: 0.5, stateful: 'momentum', beta1: 0.5 },
    { gap: 20, bits: 8, smallest: 1, matrixScale: 0.5, weightDecay: 0 },
    { gap: 20, split: 'columns', density: 0.5, bits: 8, smallest: 1, epsilon: 1e-3 },
    { gap: 20, split: 'random', density: 0.5, bits: 8, smallest: 1, epsilon: 1e-3, reset: false },
  ],
};

const cases = optimizers.flatMap((method) =>
  (variants[method.name] ?? [{}]).map((options) => ({ method, name: method.name, options })),
);

let engine: Engine;

beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

describe.each(cases)('$name $options', ({ method, options }) => {
  optimizerContract(() => engine, method, options);
});

it('gives every optimizer a name of its own', () => {
  expect(new Set(optimizers.map((o) => o.name)).size).toBe(optimizers.length);
});
