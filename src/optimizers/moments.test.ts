import { describe, expect, it } from 'vitest';
import { type NDArray, zeros } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import { dynamicCodes } from './eight-bit.ts';
import { pruneMoments } from './moments.ts';
import type { ParameterInfo, UpdateRule } from './optimizer.ts';
import { optimizers } from './registry.ts';

const info = (name: string, shape: readonly number[], factor?: string): ParameterInfo => ({
  name,
  shape,
  role: 'factor',
  ...(factor && { factor, scale: 1, layer: { name: 'layer', kind: 'linear', out: 8, in: 16 } }),
});

function held(method: string, parameters: readonly ParameterInfo[], options: object = {}) {
  const optimizer = optimizers.find((o) => o.name === method)!;
  const [rule] = optimizer.rules(parameters, optimizer.options.parse(options), 1);
  const state = Object.fromEntries(
    Object.entries(rule.state).map(([name, { shape, dtype }]) => [name, zeros(shape, dtype)]),
  );
  return { rule, state };
}

function prune(
  { rule, state }: { rule: UpdateRule; state: Record<string, NDArray> },
  ...[parameter, part]: [string, Parameters<typeof pruneMoments>[2]]
) {
  pruneMoments(rule, parameter, part, {
    array: (name) => state[name],
    random: (name) => random(1, `prune/${name}`),
  });
}

const zerosIn = (a: NDArray) => Array.from(a.data as Float32Array).filter((v) => v === 0).length;

describe('pruned moments', () => {
  it('keep what is above the quantile of each, as torch.quantile places it', () => {
    const adam = held('adamw', [info('p', [8])]);
    adam.state.m.data.set([1, -8, 3, -4, 5, 6, -7, 2] as never);
    adam.state.v.data.set([8, 7, 6, 5, 4, 3, 2, 1] as never);
    prune(adam, 'p', { prune: { share: 0.7, by: 'magnitude' } });
    // 0.7 · 7 = 4.9: between 5 and 6 at 5.9.
    expect([...adam.state.m.data]).toEqual([0, -8, 0, 0, 0, 6, -7, 0]);
    expect([...adam.state.v.data]).toEqual([8, 7, 6, 0, 0, 0, 0, 0]);
  });

  it('lose a random share, each its own', () => {
    const adam = held('adamw', [info('p', [100, 100])]);
    for (const { data } of Object.values(adam.state)) data.fill(1 as never);
    prune(adam, 'p', { prune: { share: 0.9, by: 'random' } });
    // Four standard deviations of a binomial count.
    for (const a of Object.values(adam.state)) expect(Math.abs(zerosIn(a) - 9000)).toBeLessThan(120);
    expect(adam.state.m.data).not.toEqual(adam.state.v.data);
  });

  it('go all where no share is named, or the first alone', () => {
    const adam = held('adamw', [info('p', [8])]);
    for (const { data } of Object.values(adam.state)) data.fill(1 as never);
    prune(adam, 'other', {});
    expect(Object.values(adam.state).map(zerosIn)).toEqual([0, 0]);
    prune(adam, 'p', { moments: 'first' });
    expect([zerosIn(adam.state.m), zerosIn(adam.state.v)]).toEqual([8, 0]);
    prune(adam, 'p', {});
    expect([zerosIn(adam.state.m), zerosIn(adam.state.v)]).toEqual([8, 8]);
  });

  it('are those of the factor that is named, where one rule moves both', () => {
    const pair = held('allora', [info('layer#A', [4, 16], 'A'), info('layer#B', [8, 4], 'B')]);
    for (const { data } of Object.values(pair.state)) data.fill(1 as never);
    prune(pair, 'layer#B', {});
    expect(Object.keys(pair.state).filter((name) => zerosIn(pair.state[name]) > 0)).toEqual(['mB', 'vB']);
  });

  it('leave norms and bases alone', () => {
    const matrix = { name: 'p', shape: [64, 64], role: 'matrix' } as const;
    const fira = held(
      'fira',
      [{ ...matrix, layer: { name: 'l', kind: 'linear', out: 64, in: 64, block: 0 } }],
      { rank: 4 },
    );
    const others = Object.keys(fira.state).filter((name) => !['m', 'v'].includes(name));
    expect(others.length).toBeGreaterThan(1);
    for (const { data } of Object.values(fira.state)) data.fill(1 as never);
    prune(fira, 'p', {});
    for (const [name, a] of Object.entries(fira.state))
      expect(zerosIn(a), name).toBe(others.includes(name) ? 0 : a.data.length);
  });

  it('of 8 bits go by the values that their codes and scales mean', () => {
    // 17 blocks, the last filled up.
    const size = 4200;
    const eight = held('adam-8bit', [info('p', [size])]);
    expect(eight.state.m.dtype).toBe('uint8');
    const means = (name: 'm' | 'v') => {
      const codes = dynamicCodes(name === 'm');
      return Float64Array.from({ length: size }, (_, i) =>
        Math.abs(codes[Number(eight.state[name].data[i])] * Number(eight.state[`${name}Scale`].data[i >> 8])),
      );
    };
    const bits = random(3, 'codes').cursor();
    for (const name of ['m', 'v'] as const) {
      eight.state[name].data.forEach((_: unknown, i: number) => {
        eight.state[name].data[i] = i < size ? bits.integer(256) : dynamicCodes(name === 'm').indexOf(0);
      });
      eight.state[`${name}Scale`].data.forEach((_: unknown, b: number) => {
        eight.state[`${name}Scale`].data[b] = 1 + b;
      });
    }
    const before = { m: means('m'), v: means('v') };
    prune(eight, 'p', { prune: { share: 0.9, by: 'magnitude' } });
    for (const name of ['m', 'v'] as const) {
      const sorted = before[name].slice().sort();
      const place = 0.9 * (size - 1);
      const least = sorted[Math.floor(place)];
      const kept = means(name);
      expect(kept.filter((v) => v > 0).length).toBeLessThanOrEqual(Math.ceil(0.1 * size));
      kept.forEach((v, i) => {
        expect(v).toBe(before[name][i] > least ? before[name][i] : 0);
      });
    }
    prune(eight, 'p', { moments: 'first' });
    expect(means('m').every((v) => v === 0)).toBe(true);
    expect(means('v').some((v) => v > 0)).toBe(true);
  });
});
