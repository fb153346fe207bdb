import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asMatrix, blockMatrix, normal, numbers, rehearse, rounded } from '../../tests/optimizers.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array } from '../graph/index.ts';
import { multiply } from '../linalg/index.ts';
import { adam8bit } from './adam-8bit.ts';
import { fira } from './fira.ts';
import { galore } from './galore.ts';
import { type ParameterInfo, stateBytes } from './optimizer.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

it('20 steps are those of Adam on rounded moments in the subspace, lifted, scaled and decayed', async () => {
  const info = blockMatrix('w', 30, 20);
  const [rank, rate, decay, scale] = [7, 0.01, 0.1, 0.25];
  const options = { rank, gap: 6, scale, weightDecay: decay, bits: 8, smallest: 1 };
  const run = rehearse(engine, galore, options, [[info, normal(info.shape, 'w')]]);
  const w = Float64Array.from(numbers(normal(info.shape, 'w')));
  let m: Float64Array = new Float64Array(30 * rank);
  let v = m;
  for (let t = 1; t <= 20; t++) {
    const g = normal(info.shape, 'g', t);
    await run.step(new Map([[info.name, g]]), rate, t);
    const basis = asMatrix(run.updates.state.get('w.weight/right')!);
    const low = multiply(asMatrix(g), basis, { transposeB: true });
    m = m.map((x, i) => 0.9 * x + 0.1 * low.data[i]);
    v = v.map((x, i) => 0.999 * x + 0.001 * low.data[i] ** 2);
    const inside = m.map((x, i) => x / (Math.sqrt(v[i]) + 1e-6));
    const eta = (rate * Math.sqrt(1 - 0.999 ** t)) / (1 - 0.9 ** t);
    const lifted = multiply({ ...low, data: inside }, basis);
    for (let i = 0; i < w.length; i++) w[i] = (w[i] - eta * scale * lifted.data[i]) * (1 - rate * decay);
    [m, v] = [rounded(m, true), rounded(v, false)];
  }
  const off = numbers(run.arrays.get(info.name)!).map((x, i) => Math.abs(x - w[i]));
  // A moment on the edge between two codes may round either way.
  expect(off.filter((d) => d > 5e-6).length).toBeLessThan(0.02 * off.length);
  expect(Math.max(...off)).toBeLessThan(rate);
});

it.each([galore, fira])('$name lowers a loss within 2 % of what 32-bit moments do', async (method) => {
  const info = blockMatrix('w', 64, 48);
  const goal = numbers(normal(info.shape, 'goal'));
  const curve = async (bits: number) => {
    const options = { rank: 12, gap: 20, scale: 1, bits, smallest: 1 };
    const run = rehearse(engine, method, options, [[info, normal(info.shape, 'start')]]);
    const losses: number[] = [];
    for (let t = 1; t <= 60; t++) {
      const off = numbers(run.arrays.get(info.name)!).map((x, i) => x - goal[i]);
      losses.push(off.reduce((s, d) => s + d * d, 0) / 2);
      await run.step(new Map([[info.name, array(off, info.shape)]]), 0.02, t);
    }
    return losses;
  };
  const [narrow, wide] = [await curve(8), await curve(32)];
  narrow.forEach((loss, i) => {
    expect(Math.abs(loss / wide[i] - 1)).toBeLessThan(0.02);
  });
  expect(narrow[59]).toBeLessThan(0.8 * narrow[0]);
});

describe('state', () => {
  const bytes = (info: ParameterInfo, options = {}) =>
    stateBytes(galore.rules([info, blockMatrix('other', 8, 8)], parsed({ rank: 8, ...options }), 0)) -
    stateBytes(galore.rules([blockMatrix('other', 8, 8)], parsed({ rank: 8, ...options }), 0));
  const parsed = (options: object) => galore.options.parse({ bits: 8, ...options });

  it('is a byte a moment and 4 a block of 256, beside the basis in 32 bits', () => {
    const info = blockMatrix('w', 512, 1376);
    const low = 1376 * 8;
    expect(bytes(info)).toBe(2 * low + (8 * low) / 256 + 4 * 512 * 8);
    expect(bytes({ ...info, role: 'head' })).toBe((2 + 8 / 256) * 512 * 1376);
  });

  it('stays 32-bit for moments of fewer than 4096 elements, and for embeddings', () => {
    expect(bytes(blockMatrix('w', 500, 400))).toBe(4 * (2 * 500 * 8 + 400 * 8));
    expect(bytes({ name: 'wte', shape: [256, 64], role: 'embedding' })).toBe(8 * 256 * 64);
  });

  it('is said where it stays 32-bit', () => {
    const small = blockMatrix('small', 64, 48);
    const table: ParameterInfo = { name: 'wte', shape: [256, 64], role: 'embedding' };
    const said = (bits: number) =>
      galore.notices!([small, table, blockMatrix('w', 512, 1376)], parsed({ rank: 8, bits }));
    expect(said(32)).toEqual([]);
    expect(said(8)).toEqual([
      'galore: moments of fewer than 4096 elements keep 32 bits: 1 of 3 tensors (small.weight).',
      'galore: moments of embeddings keep 32 bits: 1 of 3 tensors (wte).',
    ]);
    expect(adam8bit.notices!([table], adam8bit.options.parse({ embeddings: '8-bit' }))).toEqual([]);
  });
});
