import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blockMatrix, normal, numbers, type Rehearsal, rehearse, rounded } from '../../tests/optimizers.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array } from '../graph/index.ts';
import { frugal } from './frugal.ts';
import { type ParameterInfo, stateBytes } from './optimizer.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

const info = blockMatrix('w', 30, 20);
const begin = (options: Record<string, unknown>, of: ParameterInfo = info) =>
  rehearse(engine, frugal, options, [[of, normal(of.shape, 'w')]]);
const weight = (run: Rehearsal) => numbers(run.arrays.get(info.name)!);

describe('20 steps are those of Adam on rounded moments of the part, anew where it moves, and of signs', () => {
  it.each(['block', 'columns'] as const)('by %s', async (split) => {
    const [gap, rate, decay, matrixScale] = [6, 0.01, 0.1, 0.5];
    const density = split === 'block' ? 1 : 0.5;
    const run = begin({ split, density, gap, matrixScale, weightDecay: decay, bits: 8, smallest: 1 });
    const [rows, columns] = info.shape;
    const w = Float64Array.from(numbers(normal(info.shape, 'w')));
    const count = density * columns;
    let m: Float64Array = new Float64Array(rows * count);
    let v = m;
    for (let t = 1; t <= 20; t++) {
      const s = ((t - 1) % gap) + 1;
      const g = normal(info.shape, 'g', t);
      await run.step(new Map([[info.name, g]]), rate, t);
      if (s === 1) m = v = new Float64Array(rows * count);
      const chosen = run.updates.state.get('w.weight/index');
      const places = chosen ? numbers(chosen) : Array.from({ length: columns }, (_, j) => j);
      // The part lies column by column where columns are chosen.
      const placeOf = (k: number) => (chosen ? (k % rows) * columns + places[Math.floor(k / rows)] : k);
      const step = Float64Array.from(numbers(g), (x) => Math.sign(x));
      m = m.map((x, k) => 0.9 * x + 0.1 * Number(g.data[placeOf(k)]));
      v = v.map((x, k) => 0.999 * x + 0.001 * Number(g.data[placeOf(k)]) ** 2);
      m.forEach((x, k) => {
        const root = Math.sqrt(v[k] / (1 - 0.999 ** s)) + 1e-8;
        step[placeOf(k)] = x / (1 - 0.9 ** s) / root;
      });
      for (let i = 0; i < w.length; i++) w[i] -= rate * (matrixScale * step[i] + decay * w[i]);
      [m, v] = [rounded(m, true), rounded(v, false)];
    }
    const off = weight(run).map((x, i) => Math.abs(x - w[i]));
    // A moment on the edge between two codes may round either way.
    expect(off.filter((d) => d > 5e-6).length).toBeLessThan(0.02 * off.length);
    expect(Math.max(...off)).toBeLessThan(rate);
  });
});

it.each([
  ['block', 'sign', 1],
  ['columns', 'sign', 0.25],
  ['columns', 'none', 0.5],
  ['entries', 'none', 0.5],
  ['svd', 'none', 0.25],
  ['random', 'sign', 0.25],
] as const)(
  'by %s, rest %s, ρ = %f: lowers a loss within a fiftieth of what 32-bit moments do',
  async (split, stateless, density) => {
    const big = blockMatrix('w', 64, 48);
    const goal = numbers(normal(big.shape, 'goal'));
    const curve = async (bits: number) => {
      const run = begin({ split, stateless, density, gap: 20, bits, smallest: 1 }, big);
      const losses: number[] = [];
      for (let t = 1; t <= 60; t++) {
        const off = weight(run).map((x, i) => x - goal[i]);
        losses.push(off.reduce((s, d) => s + d * d, 0) / 2);
        await run.step(new Map([[big.name, array(off, big.shape)]]), 0.02, t);
      }
      return losses;
    };
    const [narrow, wide] = [await curve(8), await curve(32)];
    narrow.forEach((loss, i) => {
      expect(Math.abs(loss / wide[i] - 1)).toBeLessThan(0.02);
    });
    expect(narrow).not.toEqual(wide);
    expect(narrow[59]).toBeLessThan(0.8 * narrow[0]);
  },
);

describe('state', () => {
  const big = blockMatrix('w', 512, 1376);
  const parsed = (options: object) => frugal.options.parse({ bits: 8, ...options });
  const bytes = (options: object, list: readonly ParameterInfo[] = [big], step = 1) =>
    stateBytes(frugal.rules(list, parsed(options), 0), step);

  it.each([
    ['block', 1, 512 * 1376, 0],
    ['columns', 0.25, 512 * 344, 4 * 344],
    ['entries', 0.25, 512 * 344, 4 * 512 * 344],
    ['svd', 0.25, 1376 * 128, 4 * 512 * 128],
    ['random', 0.25, 1376 * 128, 4 * 512 * 128],
  ] as const)(
    'by %s is 2.03 bytes a weight of the part, beside index or basis',
    (split, density, part, beside) => {
      expect(bytes({ split, density })).toBe((2 + 8 / 256) * part + beside);
    },
  );

  it('is held by the blocks that have their turn', () => {
    const four = [0, 1, 2, 3].map((i) => blockMatrix(`m${i}`, 64, 64, i));
    expect(bytes({ density: 0.5, gap: 2 }, four, 5)).toBe(2 * (2 + 8 / 256) * 4096);
  });

  it('stays 32-bit for parts of fewer than 4096 elements, small tensors and embeddings', () => {
    expect(bytes({ split: 'columns', density: 0.1 }, [blockMatrix('w', 400, 100)])).toBe(8 * 4000 + 4 * 10);
    const others: ParameterInfo[] = [
      { name: 'wte', shape: [256, 64], role: 'embedding' },
      { name: 'norm', shape: [64], role: 'norm' },
    ];
    expect(bytes({ density: 0 }, [big, ...others])).toBe(8 * (256 * 64 + 64));
    expect(bytes({ density: 0 }, [big, { ...others[0], role: 'head' }])).toBe((2 + 8 / 256) * 256 * 64);
  });

  it('is said where it stays 32-bit, of all that has state', () => {
    const small = blockMatrix('small', 64, 63);
    const said = (options: object) => frugal.notices!([small, big], parsed(options));
    const text = 'frugal: moments of fewer than 4096 elements keep 32 bits: 1 of 2 tensors (small.weight).';
    expect(said({ bits: 32 })).toEqual([]);
    expect(said({})).toEqual([text]);
    expect(said({ split: 'columns' })).toEqual([text]);
    expect(said({ split: 'svd', density: 1 })).toEqual([text]);
    expect(said({ density: 0 })).toEqual([]);
    expect(said({ split: 'columns', density: 0 })).toEqual([]);
  });
});

it('is refused for rules without Adam’s moments', () => {
  const parse = (stateful: string) => () => frugal.options.parse({ bits: 8, stateful });
  expect(parse('adam')).not.toThrow();
  for (const stateful of ['lion', 'momentum'])
    expect(parse(stateful)).toThrow(/8 is for the moments of stateful: adam/);
});
