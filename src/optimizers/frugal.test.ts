import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  asMatrix,
  blockMatrix,
  gap,
  normal,
  numbers,
  type Rehearsal,
  rehearse,
} from '../../tests/optimizers.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array, evaluate, input, type NDArray, program } from '../graph/index.ts';
import { multiply, random } from '../linalg/index.ts';
import { adamw } from './adamw.ts';
import { frugal } from './frugal.ts';
import { galore } from './galore.ts';
import type { ParameterInfo } from './optimizer.ts';
import { signSgd } from './sign-sgd.ts';
import { splitOf } from './split.ts';
import { takeTurns } from './turns.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

const tall = blockMatrix('tall', 6, 4);
const wide = blockMatrix('wide', 4, 6);
const four = [0, 1, 2, 3].map((i) => blockMatrix(`m${i}`, 3, 4, Math.floor(i / 2)));
const start = (info: ParameterInfo) => [info, normal(info.shape, `start/${info.name}`)] as const;
const draw = (info: ParameterInfo, t: number) => normal(info.shape, `g/${info.name}`, t);
const begin = (
  method: typeof frugal,
  options: Record<string, unknown>,
  infos: readonly ParameterInfo[] = [tall, wide],
) => rehearse(engine, method, options, infos.map(start));
const weight = (run: Rehearsal, info: ParameterInfo) => numbers(run.arrays.get(info.name)!);

async function steps(run: Rehearsal, from: number, to: number, rate = 0.05): Promise<void> {
  for (let t = from; t <= to; t++)
    await run.step(new Map(run.parameters.map((p) => [p.name, draw(p, t)])), rate, t);
}

function expectClose(a: Rehearsal, b: Rehearsal, tolerance: number): void {
  for (const info of a.parameters)
    expect(gap(weight(a, info), weight(b, info)), info.name).toBeLessThan(tolerance);
}

const splits = ['block', 'columns', 'rows', 'entries', 'svd', 'random', 'permutation'] as const;

describe('density 1', () => {
  it.each(['block', 'columns', 'rows', 'entries'])('by %s is AdamW', async (split) => {
    const options = { weightDecay: 0.1 };
    const run = begin(frugal, { ...options, density: 1, split, gap: 100 });
    const plain = begin(adamw, options);
    await steps(run, 1, 5);
    await steps(plain, 1, 5);
    expectClose(run, plain, 5e-6);
  });

  it.each([1, 0.5])(
    'by svd at ρ = %f, without the rest and without reset, is GaLore of that rank',
    async (density) => {
      // The smallest ε makes its place immaterial.
      const options = { epsilon: 1e-30, gap: 3, weightDecay: 0 };
      const run = begin(frugal, { ...options, density, split: 'svd', stateless: 'none', reset: false });
      const plain = begin(galore, { ...options, rank: 4 * density });
      await steps(run, 1, 7);
      await steps(plain, 1, 7);
      expectClose(run, plain, 1e-5);
    },
  );
});

describe('density 0', () => {
  it.each(splits)('by %s is signSGD on the block matrices, and AdamW on the others', async (split) => {
    const norm: ParameterInfo = { name: 'norm', shape: [4], role: 'norm' };
    const run = begin(frugal, { density: 0, split, matrixScale: 0.5, statelessScale: 0.4 }, [
      tall,
      wide,
      norm,
    ]);
    await steps(run, 1, 3, 0.1);
    for (const [info, method, rate] of [
      [tall, signSgd, 0.02],
      [wide, signSgd, 0.02],
      [norm, adamw, 0.1],
    ] as const) {
      const plain = begin(method, {}, [info]);
      await steps(plain, 1, 3, rate);
      expect(gap(weight(run, info), weight(plain, info))).toBeLessThan(1e-6);
    }
    expect([...run.updates.state.keys()].every((name) => name.startsWith('norm/'))).toBe(true);
  });
});

describe.each(splits.filter((s) => s !== 'block'))('the split by %s', (split) => {
  it.each([tall, wide, { ...tall, layer: { ...tall.layer!, transposed: true } }])(
    'projects orthogonally: down(up(x)) = x, and the rest is orthogonal to the part',
    (info) => {
      const made = splitOf(info, { density: 0.5, gap: 9, split, projection: 'std' })!;
      const specs = Object.entries(made.state);
      const state = Object.fromEntries(
        specs.map(([k, { shape, dtype }]) => [
          k,
          array(normal(shape, k, 0, 0).data as Float32Array, shape, dtype),
        ]),
      );
      const g = draw(info, 1);
      made.prepare({
        step: 1,
        parameters: [],
        gradients: [g],
        state,
        random: (purpose) => random(1, purpose),
        report: () => {},
      });
      const symbols = Object.fromEntries(specs.map(([k, { shape, dtype }]) => [k, input(k, shape, dtype)]));
      const x = input('x', made.shape);
      const y = input('g', info.shape);
      const part = made.up(made.down(y, symbols), symbols);
      const out = evaluate(program({ again: made.down(made.up(x, symbols), symbols), part }), {
        ...state,
        x: normal(made.shape, 'x'),
        g,
      });
      expect(gap(numbers(out.again), numbers(normal(made.shape, 'x')))).toBeLessThan(1e-6);
      const kept = numbers(out.part);
      const inner = numbers(g).reduce((s, v, i) => s + (v - kept[i]) * kept[i], 0);
      expect(Math.abs(inner)).toBeLessThan(1e-5);
      expect(kept.some((v) => Math.abs(v) > 0.1)).toBe(true);
    },
  );
});

describe.each(['columns', 'rows', 'entries'] as const)('by %s', (split) => {
  it('moves the part by AdamW and the rest by its sign, on disjoint elements, every one of them', async () => {
    const run = begin(frugal, { split, density: 0.5, gap: 3, statelessScale: 0.5 }, [tall]);
    const [, columns] = tall.shape;
    const moments = { m: new Float64Array(24), v: new Float64Array(24) };
    const expected = numbers(start(tall)[1]);
    for (let t = 1; t <= 7; t++) {
      const s = ((t - 1) % 3) + 1;
      await steps(run, t, t);
      const chosen = new Set(numbers(run.updates.state.get('tall.weight/index')!));
      if (s === 1) for (const a of Object.values(moments)) a.fill(0);
      const key = (i: number) =>
        split === 'entries' ? i : split === 'rows' ? Math.floor(i / columns) : i % columns;
      numbers(draw(tall, t)).forEach((g, i) => {
        if (!chosen.has(key(i))) {
          expected[i] -= 0.05 * 0.5 * Math.sign(g);
          return;
        }
        moments.m[i] = 0.9 * moments.m[i] + 0.1 * g;
        moments.v[i] = 0.999 * moments.v[i] + 0.001 * g * g;
        const root = Math.sqrt(moments.v[i] / (1 - 0.999 ** s)) + 1e-8;
        expected[i] -= (0.05 * moments.m[i]) / (1 - 0.9 ** s) / root;
      });
      expect(gap(weight(run, tall), expected), `step ${t}`).toBeLessThan(5e-6);
    }
    const state = [...run.updates.state].filter(([name]) => !name.endsWith('index'));
    expect(state.reduce((bytes, [, a]) => bytes + a.data.byteLength, 0)).toBe(8 * 12);
  });
});

describe('by block', () => {
  const order = { density: 0.5, gap: 2 };
  const holders = (run: Rehearsal) => [...new Set([...run.updates.state.keys()].map((k) => k.split('.')[0]))];

  it('frees before it allocates: the budget of ρ holds at every moment, also while blocks change', async () => {
    const run = begin(frugal, { ...order, order: 'descending' }, four);
    const seen: string[][] = [];
    for (let t = 1; t <= 6; t++) {
      await steps(run, t, t);
      seen.push(holders(run));
    }
    expect(seen).toEqual([
      ['m2', 'm3'],
      ['m2', 'm3'],
      ['m0', 'm1'],
      ['m0', 'm1'],
      ['m2', 'm3'],
      ['m2', 'm3'],
    ]);
    const budget = 8 * 2 * 12;
    const fresh = await createEngine({ threads: 1 });
    const counted = rehearse(fresh, frugal, { ...order, order: 'random' }, four.map(start));
    await steps(counted, 1, 12);
    expect(fresh.ledger.peak).toBe(budget);
    await fresh.dispose();
  });

  it('starts with a step of η c in every element where a block gets its turn', async () => {
    const run = begin(frugal, { ...order, order: 'ascending', matrixScale: 0.5 }, four);
    await steps(run, 1, 2);
    const before = weight(run, four[2]);
    await steps(run, 3, 3, 0.2);
    for (const [i, w] of weight(run, four[2]).entries()) expect(Math.abs(w - before[i])).toBeCloseTo(0.1, 5);
  });

  it('gives turns to whole layers where asked to', async () => {
    const run = begin(frugal, { ...order, unit: 'layer', order: 'ascending' }, four);
    await steps(run, 1, 1);
    expect(holders(run)).toEqual(['m0', 'm1']);
    await steps(run, 2, 3);
    expect(holders(run)).toEqual(['m2', 'm3']);
  });

  it('without a step for the rest moves the blocks that have their turn alone (BAdam)', async () => {
    const run = begin(frugal, { ...order, order: 'ascending', stateless: 'none' }, four);
    await steps(run, 1, 2);
    for (const [i, info] of four.entries())
      expect(gap(weight(run, info), numbers(start(info)[1])) > 0).toBe(i < 2);
  });
});

describe('turns', () => {
  const sequence = (
    count: number,
    active: number,
    order: 'random' | 'descending' | 'ascending' | 'mirror',
    turns: number,
  ) => {
    const has = takeTurns(count, active, { gap: 3, order, seed: 1 });
    return Array.from({ length: turns }, (_, turn) =>
      Array.from({ length: count }, (_, b) => b).filter((b) => has(b, 3 * turn + 1) && has(b, 3 * turn + 3)),
    );
  };

  it('descending visits everyone once in ceil(N / k) turns', () => {
    expect(sequence(6, 2, 'descending', 4)).toEqual([
      [4, 5],
      [2, 3],
      [0, 1],
      [4, 5],
    ]);
    expect(new Set(sequence(7, 3, 'descending', 3).flat()).size).toBe(7);
  });

  it('mirror takes from both ends and refuses odd numbers', () => {
    expect(sequence(6, 2, 'mirror', 3)).toEqual([
      [0, 5],
      [1, 4],
      [2, 3],
    ]);
    expect(() => takeTurns(6, 3, { gap: 1, order: 'mirror', seed: 1 })).toThrow(/3 of 6 are active/);
  });

  it('random takes k of N, other ones at other turns, the same ones again for one seed', () => {
    const drawn = sequence(10, 3, 'random', 20);
    expect(drawn.every((turn) => turn.length === 3)).toBe(true);
    expect(new Set(drawn.flat()).size).toBe(10);
    expect(sequence(10, 3, 'random', 20)).toEqual(drawn);
  });
});

it('with momentum and plain descent solves a separable quadratic for any ρ; without the rest and moves it does not', async () => {
  const goal = normal(tall.shape, 'goal');
  const curvature = Array.from({ length: 24 }, (_, i) => 0.5 + i / 24);
  const left = async (options: Record<string, unknown>) => {
    const run = begin(frugal, { stateful: 'momentum', stateless: 'sgd', split: 'columns', ...options }, [
      tall,
    ]);
    for (let t = 1; t <= 150; t++) {
      const g = weight(run, tall).map((w, i) => curvature[i] * (w - Number(goal.data[i])));
      await run.step(new Map([[tall.name, array(g, tall.shape)]]), 0.1, t);
    }
    return gap(weight(run, tall), numbers(goal));
  };
  for (const density of [0, 0.25, 0.5, 1]) expect(await left({ density, gap: 20 })).toBeLessThan(2e-2);
  expect(await left({ density: 0.5, stateless: 'none', gap: 1000 })).toBeGreaterThan(0.5);
});

it('by svd keeps to the basis: the step of the part lies in it, the sign of the rest everywhere', async () => {
  const run = begin(frugal, { split: 'svd', density: 0.5, stateless: 'none' }, [tall]);
  await steps(run, 1, 3);
  const q = asMatrix(run.updates.state.get('tall.weight/right') as NDArray);
  const moved = asMatrix(
    array(
      weight(run, tall).map((w, i) => w - numbers(start(tall)[1])[i]),
      tall.shape,
    ),
  );
  const inside = multiply(multiply(moved, q, { transposeB: true }), q);
  expect(gap(inside.data, moved.data)).toBeLessThan(1e-6);
});
