import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gap, numbers, rehearse } from '../../tests/optimizers.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array } from '../graph/index.ts';
import { optimizers, type ParameterInfo } from './index.ts';

interface Golden {
  shape: [number, number];
  start: number[];
  gradients: number[][];
  rates: number[];
  cases: { method: string; options: Record<string, unknown>; weights: number[] }[];
}

const golden: Golden = JSON.parse(
  readFileSync(new URL('../../tests/golden/optimizers/elementwise.json', import.meta.url), 'utf8'),
);
const w: ParameterInfo = { name: 'w', shape: golden.shape, role: 'other' };

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

async function run(
  method: string,
  options: Record<string, unknown>,
  gradients = golden.gradients,
  info = w,
): Promise<number[]> {
  const chosen = optimizers.find((o) => o.name === method)!;
  const one = rehearse(engine, chosen, options, [[info, array(golden.start, golden.shape)]]);
  for (const [i, g] of gradients.entries())
    await one.step(new Map([['w', array(g, golden.shape)]]), golden.rates[i], i + 1);
  return numbers(one.arrays.get('w')!);
}

describe('20 steps as recorded from torch and from the formulas', () => {
  it.each(golden.cases)('$method $options', async ({ method, options, weights }) => {
    expect(gap(await run(method, options), weights)).toBeLessThan(2e-6);
  });
});

describe('adamw', () => {
  // The recorded gradients of row 0 are of the size of epsilon: these are not.
  const large = golden.gradients.map((g) => g.map((x, i) => (i < golden.shape[1] ? x * 1e7 : x)));

  it('agrees in both forms to 1e-6 where gradients are much larger than epsilon', async () => {
    const epsilon = 1e-12;
    const [torch, hf] = [
      await run('adamw', { epsilon }, large),
      await run('adamw', { epsilon, form: 'hf' }, large),
    ];
    expect(gap(torch, hf)).toBeLessThan(1e-6);
  });

  it('disagrees near epsilon by 1 / sqrt(1 - beta2^t), as predicted', async () => {
    // On step 1, |M̂| = √V̂ = |g|: torch moves |g| / (|g| + ε), hf |g| / (|g| + ε / √(1 − β₂)).
    const [g, epsilon, beta2] = [1e-4, 1e-4, 0.99];
    const gradient = [golden.start.map(() => g)];
    const moved = async (form: string) => {
      const after = await run('adamw', { epsilon, beta2, form }, gradient);
      return (golden.start[0] - after[0]) / golden.rates[0];
    };
    expect(await moved('torch')).toBeCloseTo(1 / 2, 5);
    expect(await moved('hf')).toBeCloseTo(1 / (1 + 1 / Math.sqrt(1 - beta2)), 5);
  });

  it('is one method: hf with epsilon is torch with epsilon / sqrt(1 - beta2^t) at every step', async () => {
    const first = golden.gradients.slice(0, 1);
    const hf = await run('adamw', { epsilon: 1e-6, form: 'hf' }, first);
    const torch = await run('adamw', { epsilon: 1e-6 / Math.sqrt(1 - 0.999) }, first);
    expect(gap(hf, torch)).toBeLessThan(1e-6);
  });

  it.each(['norm', 'bias'] as const)('does not decay a %s', async (role) => {
    const plain = await run('adamw', {});
    expect(await run('adamw', { weightDecay: 0.1 }, undefined, { ...w, role })).toEqual(plain);
  });
});

it('lora+ is refused where there are neither A nor B', () => {
  const chosen = optimizers.find((o) => o.name === 'lora+')!;
  const rules = (info: ParameterInfo) => () => chosen.rules([info], chosen.options.parse({}), 0);
  expect(rules({ ...w, role: 'factor', factor: 'B' })).not.toThrow();
  for (const info of [w, { ...w, role: 'factor', factor: 'R' } as const])
    expect(rules(info)).toThrow(expect.objectContaining({ code: 'optimizers/no-factors' }));
});

it('lora+ moves B ratio times as far as AdamW does, and A as far', async () => {
  const factor = (name: 'A' | 'B'): ParameterInfo => ({ ...w, role: 'factor', factor: name });
  const first = golden.gradients.slice(0, 1);
  const moves = (after: number[]) => after.map((x, i) => x - golden.start[i]);
  const adam = moves(await run('adamw', {}, first));
  const a = moves(await run('lora+', { ratio: 4 }, first, factor('A')));
  const b = moves(await run('lora+', { ratio: 4 }, first, factor('B')));
  expect(a).toEqual(adam);
  expect(
    gap(
      b,
      adam.map((x) => 4 * x),
    ),
  ).toBeLessThan(1e-6);
});
