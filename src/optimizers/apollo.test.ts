import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blockMatrix, gap, normal, numbers, rehearse } from '../../tests/optimizers.ts';
import { recorded, recordedRun } from '../../tests/optimizers-memory.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import type { NDArray } from '../graph/index.ts';
import { type ApolloOptions, apollo, apolloOptions, apolloPiece } from './apollo.ts';
import { apolloMini } from './apollo-mini.ts';
import { defineOptimizer, type ParameterInfo, stateBytes } from './optimizer.ts';
import { perParameter } from './pieces.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

const tall = blockMatrix('tall', 6, 4);
const wide = blockMatrix('wide', 4, 6);
const start = (info: ParameterInfo) => [info, normal(info.shape, `start/${info.name}`)] as const;

/** APOLLO with recorded projections, by name and turn. */
const withBases = (bases: Record<string, number[][]>) =>
  defineOptimizer<ApolloOptions>({
    ...apollo,
    options: apolloOptions,
    rules: (parameters, o) =>
      perParameter(parameters, (p) =>
        apolloPiece(p, o, (basis, { step }) => {
          (basis.data as Float32Array).set(bases[p.name][Math.floor((step - 1) / o.gap)]);
        }),
      ),
  });

it.each(recorded.apollo)('20 steps as apollo-torch: $options', async ({ options, weights, bases }) => {
  const parameters = Object.fromEntries(
    Object.keys(bases).map((name) => {
      const [rows, columns] = recorded.shapes[name];
      return [name, { ...blockMatrix(name, rows, columns), name }];
    }),
  );
  for (const [name, own] of await recordedRun(engine, withBases(bases), options, parameters)) {
    const size = Math.max(1, ...weights[name].map(Math.abs));
    expect(gap(own, weights[name]) / size, name).toBeLessThan(1e-5);
  }
});

describe('the projection', () => {
  it('is drawn at steps 1, T + 1, 2T + 1 exactly, with variance 1/r', async () => {
    const info = blockMatrix('big', 300, 200);
    const run = rehearse(engine, apollo, { rank: 16, gap: 3 }, [start(info)]);
    const changed: number[] = [];
    let before = '';
    for (let t = 1; t <= 7; t++) {
      await run.step(new Map([[info.name, normal(info.shape, 'g', t)]]), 0.01, t);
      const basis = numbers(run.updates.state.get('big.weight/right')!);
      if (basis.join() !== before) changed.push(t);
      before = basis.join();
      const variance = basis.reduce((s, x) => s + x * x, 0) / basis.length;
      expect(variance).toBeGreaterThan(0.9 / 16);
      expect(variance).toBeLessThan(1.1 / 16);
    }
    expect(changed).toEqual([1, 4, 7]);
  });

  it('above the smaller side is refused; so is a model without matrices, and a gap of zero', () => {
    const rules = (infos: ParameterInfo[], options: object) => () =>
      apollo.rules(infos, apollo.options.parse(options), 0);
    expect(rules([tall], { rank: 5 })).toThrow(
      /apollo cannot project tall.weight of shape \[6,4\] to rank 5/,
    );
    expect(rules([{ name: 'norm', shape: [4], role: 'norm' }], {})).toThrow(/whole weight matrices/);
    expect(rules([tall], { rank: 2, gap: 0 })).toThrow(/gap/);
  });
});

/** W − W₀ over G after one step. */
async function ratios(method: typeof apollo, info: ParameterInfo, options: object): Promise<number[]> {
  const run = rehearse(engine, method, { ...options }, [start(info)]);
  const g = normal(info.shape, 'g');
  await run.step(new Map([[info.name, g]]), 0.1, 1);
  const w = numbers(run.arrays.get(info.name)!);
  return w.map((x, i) => (x - Number(start(info)[1].data[i])) / Number(g.data[i]));
}

describe('the step', () => {
  it.each([tall, wide])(
    'of $name is the gradient with one factor a channel of the long side',
    async (info) => {
      const found = await ratios(apollo, info, { rank: 2 });
      const [m, n] = info.shape;
      const byChannel = (i: number) => (m >= n ? Math.floor(i / n) : i % n);
      const first = new Map<number, number>();
      found.forEach((ratio, i) => {
        const channel = byChannel(i);
        first.set(channel, first.get(channel) ?? ratio);
        expect(ratio / first.get(channel)!).toBeCloseTo(1, 3);
      });
      expect(new Set([...first.values()].map((x) => x.toFixed(4))).size).toBe(6);
    },
  );

  it('of APOLLO-Mini is the gradient with one factor in all, √128 of what rank 1 gives', async () => {
    const mini = await ratios(apolloMini, tall, {});
    for (const ratio of mini) expect(ratio / mini[0]).toBeCloseTo(1, 3);
    const plain = await ratios(apollo, tall, { rank: 1, scaling: 'tensor' });
    expect(mini[0] / plain[0]).toBeCloseTo(Math.sqrt(128), 3);
  });

  it('at full rank by SVD has the factors that Adam gives each channel in that basis', async () => {
    // Bias-corrected Adam's first step is ±1 in each of the r coordinates: a channel's step is η √r long.
    const run = rehearse(engine, apollo, { rank: 4, basis: 'svd', epsilon: 0 }, [start(tall)]);
    await run.step(new Map([[tall.name, normal(tall.shape, 'g')]]), 0.1, 1);
    const w = numbers(run.arrays.get(tall.name)!).map((x, i) => x - Number(start(tall)[1].data[i]));
    for (let i = 0; i < 6; i++) expect(Math.hypot(...w.slice(4 * i, 4 * i + 4))).toBeCloseTo(0.1 * 2, 4);
  });

  it('grows by no more than the limit', async () => {
    const run = rehearse(engine, apollo, { rank: 2, beta1: 0, beta2: 0 }, [start(tall)]);
    const norms: number[] = [];
    let before = numbers(start(tall)[1]);
    for (let t = 1; t <= 4; t++) {
      const size = t === 1 ? 1e-9 : 1;
      await run.step(new Map([[tall.name, normal(tall.shape, 'g', t, size)]]), 0.1, t);
      const after = numbers(run.arrays.get(tall.name) as NDArray);
      norms.push(Math.hypot(...after.map((x, i) => x - before[i])));
      before = after;
    }
    for (let t = 1; t < 4; t++) expect(norms[t]).toBeLessThan(norms[t - 1] * 1.0101 + 1e-7);
  });
});

it('keeps 2 max(m, n) r + min(m, n) r + 1 numbers, APOLLO-Mini those of rank 1', () => {
  const info = blockMatrix('w', 512, 1376);
  const bytes = (method: typeof apollo, options: object) =>
    stateBytes(method.rules([info], method.options.parse(options), 0));
  expect(bytes(apollo, { rank: 128 })).toBe(4 * (2 * 1376 * 128 + 512 * 128 + 1));
  expect(bytes(apolloMini, {})).toBe(4 * (2 * 1376 + 512 + 1));
});
