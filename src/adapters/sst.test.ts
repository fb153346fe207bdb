import { expect, it } from 'vitest';
import type { NDArray } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import { weightFormContract } from './form.contract.ts';
import {
  arraysOf,
  gradientsOf,
  layer,
  maxDifference,
  normal,
  type Started,
  start,
  weightOf,
} from './form-checks.contract.ts';
import { emptyLog, stepInfo } from './run-steps.contract.ts';
import { sst } from './sst.ts';
import { drawWithoutReplacement, drift, samplingProbabilities, selected } from './sst-spectrum.ts';

for (const gradient of ['enhanced', 'tangent', 'true']) weightFormContract(sst, { rank: 4, gradient }, [sst]);

const [M, N, R] = [8, 12, 3];
const x = normal([5, N], 3);

function product(a: NDArray, b: NDArray): number[][] {
  const [rows, shared, columns] = [a.shape[0], a.shape[1], b.shape[1]];
  return Array.from({ length: rows }, (_, i) =>
    Array.from({ length: columns }, (_, j) => {
      let total = 0;
      for (let k = 0; k < shared; k++)
        total += Number(a.data[i * shared + k]) * Number(b.data[k * columns + j]);
      return total;
    }),
  );
}

function transposed(a: NDArray): NDArray {
  const [rows, columns] = a.shape;
  const data = Float64Array.from({ length: rows * columns }, (_, i) =>
    Number(a.data[(i % rows) * columns + Math.floor(i / rows)]),
  );
  return { dtype: 'float64', shape: [columns, rows], data };
}

it('gives each chance at least half of the uniform one, strong ones more, and zeros the same', () => {
  const p = samplingProbabilities([4, 2, 1, 0]);
  expect(p.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  expect([...p]).toEqual([...p].sort((a, b) => b - a));
  expect(p[3]).toBeCloseTo(1 / 8, 12);
  expect([...samplingProbabilities([3, 3, 3, 3])]).toEqual([0.25, 0.25, 0.25, 0.25]);
  expect([...samplingProbabilities([0, 0])]).toEqual([0.5, 0.5]);
});

it('draws distinct indices, the likelier the more often', () => {
  const p = samplingProbabilities([8, 4, 2, 1, 0, 0]);
  const counts = new Array(6).fill(0);
  const rounds = 3000;
  for (let i = 0; i < rounds; i++) {
    const drawn = drawWithoutReplacement(p, 1, random(1, `draw/${i}`));
    expect(drawn).toHaveLength(1);
    counts[drawn[0]]++;
  }
  // Three standard deviations of a binomial share.
  for (const [i, count] of counts.entries())
    expect(Math.abs(count / rounds - p[i])).toBeLessThan(3 * Math.sqrt((p[i] * (1 - p[i])) / rounds));
  expect(drawWithoutReplacement(p, 6, random(2, 'all'))).toEqual([0, 1, 2, 3, 4, 5]);
});

it('takes gradients as the card says: σ as it is, vectors without their σ', async () => {
  const s = await start(sst, layer(M, N), { rank: R });
  const direction = normal([5, M], 55);
  // G = δᵀ x, out×in.
  const G: NDArray = {
    dtype: 'float64',
    shape: [M, N],
    data: Float64Array.from(product(transposed(direction), x).flat()),
  };
  const { U, V, sigma } = gradientsOf(s, x);
  const indices = selected(s.factors.frozen.S);
  const { U: u, V: v } = s.factors.trainable;
  expect(maxDifference(U, { ...U, data: Float64Array.from(transposedProduct(G, v).flat()) })).toBeLessThan(
    1e-5,
  );
  expect(maxDifference(V, { ...V, data: Float64Array.from(product(u, G).flat()) })).toBeLessThan(1e-5);
  indices.forEach((index, k) => {
    let expected = 0;
    for (let i = 0; i < M; i++)
      for (let j = 0; j < N; j++)
        expected += Number(u.data[k * M + i]) * Number(G.data[i * N + j]) * Number(v.data[k * N + j]);
    expect(Number(sigma.data[index])).toBeCloseTo(expected, 5);
  });
  const exact = gradientsOf(await start(sst, layer(M, N), { rank: R, gradient: 'true' }), x);
  indices.forEach((index, k) => {
    for (let i = 0; i < M; i++)
      expect(Number(exact.U.data[k * M + i])).toBeCloseTo(
        Number(U.data[k * M + i]) * Number(s.factors.trainable.sigma.data[index]),
        5,
      );
  });
  const tangent = gradientsOf(await start(sst, layer(M, N), { rank: R, gradient: 'tangent' }), x);
  for (let k = 0; k < R; k++) {
    let along = 0;
    for (let i = 0; i < M; i++) along += Number(tangent.U.data[k * M + i]) * Number(u.data[k * M + i]);
    expect(along).toBeCloseTo(0, 5);
  }
});

/** Rows G v. */
function transposedProduct(G: NDArray, v: NDArray): number[][] {
  return product(v, transposed(G));
}

it('leaves gradients of vectors alone when σ grows', async () => {
  const small = await start(sst, layer(M, N), { rank: R });
  const { sigma } = small.factors.trainable;
  const large: Started = {
    ...small,
    factors: {
      ...small.factors,
      trainable: {
        ...small.factors.trainable,
        sigma: { ...sigma, data: (sigma.data as Float32Array).map((v) => 7 * v) },
      },
    },
  };
  const [a, b] = [gradientsOf(small, x), gradientsOf(large, x)];
  expect(maxDifference(a.U, b.U)).toBeLessThan(1e-12);
  expect(maxDifference(a.V, b.V)).toBeLessThan(1e-12);
});

function dense(s: Started): number[] {
  return Array.from(weightOf(s).data, Number);
}

/** Updates of plain gradient descent on random vectors, with the form's steps around them. */
async function descend(
  s: Started,
  options: { from?: number; updates: number; seen?: (step: number) => void },
) {
  const own = { spec: s.spec, options: s.options, ...s.factors };
  const steps = sst.steps!(s.options, [own]);
  const log = emptyLog();
  for (let step = options.from ?? 0; step < (options.from ?? 0) + options.updates; step++) {
    const info = stepInfo([own], step, { log });
    await steps.beforeStep!(info);
    options.seen?.(step);
    for (const [i, a] of Object.values(s.factors.trainable).entries()) {
      const noise = normal(a.shape, 1000 * step + i, 0.05).data as Float32Array;
      for (let k = 0; k < noise.length; k++) (a.data as Float32Array)[k] += noise[k];
    }
    await steps.afterStep!(info);
  }
  return { resets: log.resets.map((r) => r.replace(/:.*#/, ':')), reports: log.reports };
}

it('changes only sampled vectors, keeps them unit and σ at zero or above', async () => {
  const s = await start(sst, layer(M, N), { rank: R, every: 10, warmup: 0 });
  const { left, right, S } = s.factors.frozen;
  const kept = [left, right, S].map((a) => a.data.slice());
  (s.factors.trainable.sigma.data as Float32Array)[5] = 1e-4;
  await descend(s, { updates: 9 });
  expect([left, right, S].map((a) => a.data)).toEqual(kept);
  for (const a of [s.factors.trainable.U, s.factors.trainable.V])
    for (let k = 0; k < R; k++) {
      const row = (a.data as Float32Array).subarray(k * a.shape[1], (k + 1) * a.shape[1]);
      expect(row.reduce((n, v) => n + v * v, 0)).toBeCloseTo(1, 5);
    }
  expect(Math.min(...(s.factors.trainable.sigma.data as Float32Array))).toBeGreaterThanOrEqual(0);
});

it('samples anew every T updates and decomposes after K samples, without touching W', async () => {
  const s = await start(sst, layer(M, N), { rank: R, every: 4, iterations: 2, warmup: 0 });
  const samples: string[] = [];
  const resets: string[] = [];
  let drifted = 0;
  for (const from of [0, 4, 8]) {
    const before = dense(s);
    const scale = Math.max(...before.map(Math.abs));
    const seen = (step: number) => {
      samples.push(selected(s.factors.frozen.S).join());
      if (step > from) return;
      const now = dense(s);
      expect(Math.max(...now.map((v, i) => Math.abs(v - before[i]))) / scale).toBeLessThan(1e-5);
    };
    const done = await descend(s, { from, updates: 4, seen });
    resets.push(...done.resets);
    drifted = done.reports['sst/drift'] ?? drifted;
  }
  const parts = [samples.slice(0, 4), samples.slice(4, 8), samples.slice(8)];
  expect(parts.map((part) => new Set(part).size)).toEqual([1, 1, 1]);
  expect(new Set(samples).size).toBe(3);
  expect(resets).toEqual(['4:U', '4:V', '8:sigma', '8:U', '8:V']);
  expect(drifted).toBeGreaterThan(0);
});

it('is orthonormal and sorted after a decomposition, with the norm of W', async () => {
  const s = await start(sst, layer(M, N), { rank: R, every: 2, iterations: 1, warmup: 0 });
  await descend(s, { updates: 2 });
  const norm = dense(s).reduce((n, v) => n + v * v, 0);
  const own = { spec: s.spec, options: s.options, ...s.factors };
  await sst.steps!(s.options, [own]).beforeStep!(stepInfo([own], 2));
  const { left, right, S, U, V, sigma } = arraysOf(s);
  const values = Array.from(sigma.data, Number);
  expect(values).toEqual([...values].sort((a, b) => b - a));
  expect(values.reduce((n, v) => n + v * v, 0)).toBeCloseTo(norm, 3);
  for (const [all, some] of [
    [left, U],
    [right, V],
  ]) {
    const whole = (all.data as Float32Array).slice();
    selected(S).forEach((index, k) => {
      whole.set(
        (some.data as Float32Array).subarray(k * some.shape[1], (k + 1) * some.shape[1]),
        index * some.shape[1],
      );
    });
    expect(drift(whole, all.shape[1])).toBeLessThan(1e-5);
  }
});

it('warms sampled vectors up: the first updates are taken in part', async () => {
  const [cold, warm] = [
    await start(sst, layer(M, N), { rank: R, warmup: 0 }),
    await start(sst, layer(M, N), { rank: R, warmup: 9 }),
  ];
  const first = warm.factors.trainable.U.data.slice();
  await descend(cold, { updates: 1 });
  await descend(warm, { updates: 1 });
  const moved = (s: Started) => {
    const now = s.factors.trainable.U.data as Float32Array;
    return Math.sqrt(now.reduce((n, v, i) => n + (v - Number(first[i])) ** 2, 0));
  };
  expect(moved(warm)).toBeGreaterThan(0);
  expect(moved(warm)).toBeLessThan(0.15 * moved(cold));
});
