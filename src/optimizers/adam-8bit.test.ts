import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blockMatrix, normal, numbers, rehearse } from '../../tests/optimizers.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array } from '../graph/index.ts';
import { adam8bit } from './adam-8bit.ts';
import { adamw } from './adamw.ts';
import { dynamicCodes } from './eight-bit.ts';
import { coder, encode } from './eight-bit-host.ts';
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

  it.each([true, false])('are found as by a search of all of them (signed: %s)', (signed) => {
    const by = coder(signed);
    const { codes } = by;
    const x = normal([4096], 'values').data as Float32Array;
    // All sizes that occur, the codes themselves, both ends and zero.
    const values = Float32Array.from([...x].map((v, i) => Math.max(-1, Math.min(1, v * 10 ** -(i % 9)))));
    const all = Float32Array.from([
      ...values.map((v) => (signed ? v : Math.abs(v))),
      ...codes,
      0,
      1,
      signed ? -1 : 0,
    ]);
    const found = new Uint8Array(Math.ceil(all.length / 256) * 256);
    for (let at = 0; at < all.length; at += 256) {
      by.values.set(all.subarray(at, at + 256));
      encode(by, found, at);
    }
    for (const [i, v] of all.entries()) {
      const best = Math.min(...codes.map((c) => Math.abs(c - v)));
      expect(Math.abs(codes[found[i]] - v)).toBeLessThanOrEqual(best * (1 + 1e-6));
    }
    codes.forEach((_, i) => {
      expect(found[values.length + i]).toBe(i);
    });
  });
});

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
