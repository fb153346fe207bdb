import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine, type Engine } from '../engine/index.ts';
import { optimizers } from './index.ts';
import { optimizerContract } from './optimizer.contract.ts';

/** Sizes that fit the contract's small tensors; everything else is each method's default. */
const small: Record<string, Record<string, unknown>> = {
  galore: { rank: 2, gap: 20 },
  fira: { rank: 2, gap: 20 },
};

let engine: Engine;

beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

describe.each(optimizers.map((method) => [method.name, method] as const))('%s', (name, method) => {
  optimizerContract(() => engine, method, small[name] ?? {});
});

it('gives every optimizer a name of its own', () => {
  expect(new Set(optimizers.map((o) => o.name)).size).toBe(optimizers.length);
});
