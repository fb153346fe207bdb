import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blockMatrix, normal, numbers, rehearse } from '../../tests/optimizers.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array, zeros } from '../graph/index.ts';
import { adam8bit } from './adam-8bit.ts';
import { adamw } from './adamw.ts';
import { dynamicCodes, quantizedState } from './eight-bit.ts';
import { adam8OnHost } from './eight-bit-host.ts';
import { kernelBytes } from './eight-bit-kernel.ts';
import { type ParameterInfo, stateBytes } from './optimizer.ts';

interface Golden {
  signed: number[];
  unsigned: number[];
  shape: [number, number];
  rate: number;
  start: number[];
  gradients: number[][];
  weights: number[];
}

const golden: Golden = JSON.parse(
  readFileSync(new URL('../../tests/golden/optimizers/eight-bit.json', import.meta.url), 'utf8'),
);

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

describe('the codes', () => {
  it.each([true, false])('are those of bitsandbytes (signed: %s)', (signed) => {
    const expected = signed ? golden.signed : golden.unsigned;
    const codes = dynamicCodes(signed);
    expect(codes).toHaveLength(256);
    codes.forEach((c, i) => {
      expect(Math.abs(c - expected[i])).toBeLessThanOrEqual(3e-7 * Math.abs(expected[i]));
    });
  });

  it.each(['m', 'v'] as const)('of %s are found as by a search of all of them', (name) => {
    const codes = dynamicCodes(name === 'm');
    const x = numbers(normal([4096], 'values'));
    // All sizes that occur, the codes themselves, both ends and zero.
    const sizes = x.map((v, i) => Math.max(-1, Math.min(1, v * 10 ** -(i % 9))));
    const all = [...sizes, ...codes, 0, 1, -1].map((v) => Math.fround(name === 'm' ? v : Math.abs(v)));
    const size = Math.ceil(all.length / 255) * 256;
    // Each block begins with its largest value.
    const values = Float32Array.from({ length: size }, (_, i) =>
      i % 256 === 0 ? 1 : (all[i - 1 - Math.floor(i / 256)] ?? 0),
    );
    const found = storedBy(name === 'm' ? values : values.map(Math.sqrt))[name];
    for (let i = 0; i < size; i++) {
      const v = name === 'm' ? values[i] : Math.fround(Math.sqrt(values[i])) ** 2;
      const best = Math.min(...codes.map((c) => Math.abs(c - v)));
      expect(Math.abs(codes[found[i]] - v)).toBeLessThanOrEqual(best * (1 + 1e-5) + 1e-12);
    }
  });

  it('keep zero, and the largest positive value of a block', () => {
    const values = Float32Array.from(numbers(normal([512], 'block')), (v, i) => (i % 7 === 0 ? 0 : 0.3 * v));
    values[3] = 4.5;
    values[300] = 1e-20;
    const { m, mScale } = storedBy(values);
    const codes = dynamicCodes(true);
    values.forEach((v, i) => {
      if (v === 0) expect(codes[m[i]]).toBe(0);
    });
    expect(codes[m[3]] * mScale[0]).toBe(4.5);
    expect(mScale[1]).toBe(Math.max(...values.subarray(256).map(Math.abs)));
  });

  it('are zero in a block of nothing, and nothing breaks where its values have no reciprocal or are no numbers', () => {
    expect(new Set(storedBy(new Float32Array(256)).m)).toEqual(new Set([127]));
    const tiny = storedBy(new Float32Array(256).fill(1e-42));
    expect(new Set(tiny.m)).toEqual(new Set([127]));
    expect(new Set(tiny.v)).toEqual(new Set([0]));
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => storedBy(new Float32Array(256).fill(bad))).not.toThrow();
  });

  it('come from a module that browsers compile at once', () => {
    expect(kernelBytes().length).toBeLessThan(4096);
  });
});

/** What a step stores of a gradient where the averages keep nothing: M = G, V = G∘G. */
function storedBy(gradient: Float32Array) {
  const shape = [gradient.length];
  const state = Object.fromEntries(
    ['m', 'v']
      .flatMap((name) => Object.entries(quantizedState(name, gradient.length)))
      .map(([name, spec]) => [name, zeros(spec.shape, spec.dtype)]),
  );
  adam8OnHost(
    {
      ...{ parameters: [zeros(shape)], gradients: [array(gradient, shape)], state },
      ...{ rate: 0.1, step: 1, clip: 1 },
    },
    { beta1: 0, beta2: 0, epsilon: 1e-8, decay: 0, form: 'torch' },
  );
  return Object.fromEntries(Object.entries(state).map(([name, a]) => [name, numbers(a)]));
}

describe('20 steps', () => {
  it('as the formula says, over a block that is not full', async () => {
    const w: ParameterInfo = { name: 'w', shape: golden.shape, role: 'other' };
    const options = { smallest: 1, weightDecay: 0.1 };
    const run = rehearse(engine, adam8bit, options, [[w, array(golden.start, golden.shape)]]);
    for (const [i, g] of golden.gradients.entries())
      await run.step(new Map([['w', array(g, golden.shape)]]), golden.rate, i + 1);
    const off = numbers(run.arrays.get('w')!).map((x, i) => Math.abs(x - golden.weights[i]));
    // A moment on the edge between two codes may round either way, and its weight then goes a little apart.
    expect(off.filter((d) => d > 2e-6).length).toBeLessThan(0.02 * off.length);
    expect(Math.max(...off)).toBeLessThan(golden.rate);
  });

  it('lower a loss within 2 % of what 32 bits do', async () => {
    const info = blockMatrix('w', 64, 64);
    const goal = numbers(normal(info.shape, 'goal'));
    const curve = async (method: typeof adamw) => {
      const run = rehearse(engine, method, {}, [[info, normal(info.shape, 'start')]]);
      const losses: number[] = [];
      for (let t = 1; t <= 60; t++) {
        const off = numbers(run.arrays.get(info.name)!).map((w, i) => w - goal[i]);
        losses.push(off.reduce((s, d) => s + d * d, 0) / 2);
        const noise = numbers(normal(info.shape, 'noise', t, 0.3));
        await run.step(
          new Map([
            [
              info.name,
              array(
                off.map((d, i) => d + noise[i]),
                info.shape,
              ),
            ],
          ]),
          0.02,
          t,
        );
      }
      return losses;
    };
    const [narrow, wide] = [await curve(adam8bit), await curve(adamw)];
    narrow.forEach((loss, i) => {
      expect(Math.abs(loss / wide[i] - 1)).toBeLessThan(0.02);
    });
    expect(narrow[59]).toBeLessThan(0.4 * narrow[0]);
  });
});

describe('memory', () => {
  const bytes = (info: ParameterInfo, options = {}) =>
    stateBytes(adam8bit.rules([info], adam8bit.options.parse(options), 0));

  it('is 2 bytes a weight and 8 a block of 256', () => {
    const info = blockMatrix('w', 512, 1376);
    const weights = 512 * 1376;
    expect(bytes(info)).toBe(2 * weights + (8 * weights) / 256);
    expect(bytes(info) / weights).toBeCloseTo(2.03125, 6);
  });

  it('stays 32-bit for small tensors, and for embeddings unless asked otherwise', () => {
    expect(bytes({ name: 'norm', shape: [4095], role: 'norm' })).toBe(8 * 4095);
    const table: ParameterInfo = { name: 'wte', shape: [256, 64], role: 'embedding' };
    expect(bytes(table)).toBe(8 * 256 * 64);
    expect(bytes(table, { embeddings: '8-bit' })).toBe(2 * 256 * 64 + 8 * 64);
  });
});
