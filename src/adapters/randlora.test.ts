import { describe, expect, it } from 'vitest';
import { squaredErrorOfFit } from '../../experiments/randlora-fit.ts';
import type { NDArray } from '../graph/index.ts';
import { matrix, multiply, svd, transpose } from '../linalg/index.ts';
import {
  checkForwardIsWeight,
  checkGradients,
  checkShapes,
  counts,
  exported,
  gradientsOf,
  layer,
  maxDifference,
  minus,
  normal,
  outputOf,
  rankOf,
  type Started,
  shaken,
  start,
  trace,
  weightOf,
} from './form-checks.contract.ts';
import { checkAgainstPeft } from './peft-golden.contract.ts';
import { randlora } from './randlora.ts';

const x = normal([2, 7], 3);
const shapes: [number, number][] = [
  [8, 7],
  [5, 7],
  [7, 7],
];

/** Σ_b B_b Λ_b A Γ_b with B_b[:, k] = B̃[:, column(k, b)], for n ≤ m; D×d. */
function sumOfProducts(s: Started, column: (k: number, b: number) => number): NDArray {
  const { A, B } = s.factors.frozen;
  const { lambda, gamma } = s.factors.trainable;
  const [D, N, r] = B.shape;
  const d = A.shape[2];
  const data = new Float64Array(D * d);
  for (let i = 0; i < D; i++)
    for (let j = 0; j < d; j++)
      for (let b = 0; b < N; b++)
        for (let k = 0; k < r; k++)
          data[i * d + j] +=
            Number(B.data[i * N * r + column(k, b)]) *
            Number(lambda.data[k * N + b]) *
            Number(A.data[k * d + j]) *
            Number(gamma.data[b * d + j]);
  return { dtype: 'float32', shape: [D, d], data };
}

describe('RandLoRA', () => {
  it('starts as the base; the first gradient moves λ alone', async () => {
    const s = await start(randlora, layer(8, 7), { rank: 3 });
    expect(weightOf(s).data).toEqual(Float64Array.from(s.original.data as Float32Array));
    expect(s.factors.trainable.gamma.data[0]).toBeCloseTo(1 / 7, 6);
    const g = gradientsOf(s, x);
    expect(g.gamma.data.every((v) => Number(v) === 0)).toBe(true);
    expect(g.lambda.data.every((v) => Number(v) !== 0)).toBe(true);
  });

  it.each(shapes)('trains N(r + d) numbers, in full rank, with right gradients: %i×%i', async (m, n) => {
    const d = Math.min(m, n);
    for (const rank of [1, 3, 9]) {
      const s = shaken(await start(randlora, layer(m, n), { rank, alpha: rank }), 0.5);
      checkShapes(s);
      expect(counts(s.factors.trainable)).toBe(rank >= d ? rank + d : Math.ceil(d / rank) * (rank + d));
      checkForwardIsWeight(s, x);
      expect(rankOf(minus(weightOf(s), s.original), svd)).toBe(d);
    }
    checkGradients(shaken(await start(randlora, layer(m, n), { rank: 3, alpha: 3 })), x);
  });

  it('computes the same whether ΔW is built or applied as factors', async () => {
    const s = shaken(await start(randlora, layer(8, 7), { rank: 3, alpha: 3 }));
    const many = normal([30, 7], 9);
    const one = { ...many, shape: [2, 7], data: (many.data as Float32Array).slice(0, 14) };
    expect(trace(s, many).y.node.op.name).not.toBe(trace(s, one).y.node.op.name);
    const [all, few] = [outputOf(s, many), outputOf(s, one)];
    expect(
      maxDifference({ ...all, shape: [2, 8], data: all.data.slice(0, 16) as Float64Array }, few),
    ).toBeLessThan(1e-12);
    checkGradients(s, many);
  });

  it('pairs columns k-major with b-major, as the authors’ code and PEFT do', async () => {
    const s = shaken(await start(randlora, layer(8, 7), { rank: 3, alpha: 3 }));
    const own = minus(weightOf(s), s.original);
    const [, N, r] = s.factors.frozen.B.shape;
    expect(
      maxDifference(
        own,
        sumOfProducts(s, (k, b) => k * N + b),
      ),
    ).toBeLessThan(1e-6);
    expect(
      maxDifference(
        own,
        sumOfProducts(s, (k, b) => b * r + k),
      ),
    ).toBeGreaterThan(0.01);
  });

  it('is B Λ A Γ where r ≥ d', async () => {
    const s = shaken(await start(randlora, layer(6, 4), { rank: 5, alpha: 5 }));
    expect(s.factors.frozen.B.shape).toEqual([6, 1, 5]);
    expect(
      maxDifference(
        minus(weightOf(s), s.original),
        sumOfProducts(s, (k) => k),
      ),
    ).toBeLessThan(1e-6);
  });

  it('shares slices of one pair of matrices: one array a shape, equal numbers between shapes', async () => {
    const [a, b, c] = await Promise.all(
      [layer(8, 7), { ...layer(7, 8), name: 'h.1' }, layer(12, 10)].map((l) =>
        start(randlora, l, { rank: 3 }),
      ),
    );
    expect(a.factors.frozen.B.data).toBe(b.factors.frozen.B.data);
    for (let i = 0; i < 8; i++)
      expect([...c.factors.frozen.B.data].slice(i * 12, i * 12 + 9)).toEqual(
        [...a.factors.frozen.B.data].slice(i * 9, i * 9 + 9),
      );
  });

  it.each([
    ['dense', undefined, 1e9],
    ['sparse', 2 / 3, 3],
    ['verySparse', 1 - 1 / Math.sqrt(50), 3],
  ] as const)('draws %s bases of standard deviation 1', async (basis, zeroShare, values) => {
    const s = await start(randlora, layer(60, 50), { rank: 10, basis });
    const data = [...(s.factors.frozen.B.data as Float32Array)];
    const squares = data.reduce((t, v) => t + v * v, 0) / data.length;
    expect(squares).toBeGreaterThan(0.85);
    expect(squares).toBeLessThan(1.15);
    expect(new Set(data).size).toBeLessThanOrEqual(values);
    if (zeroShare) expect(data.filter((v) => v === 0).length / data.length).toBeCloseTo(zeroShare, 1);
  });

  it('scales by √N where asked, and its PEFT file still says the same', async () => {
    const specs = [layer(8, 7), layer(3, 12)];
    const starts = await Promise.all(
      specs.map(async (l) => shaken(await start(randlora, l, { rank: 2, alpha: 2, scaleBySqrtN: true }))),
    );
    const plain = await start(randlora, specs[0], { rank: 2, alpha: 2 });
    const same = { ...plain, factors: { ...plain.factors, trainable: starts[0].factors.trainable } };
    const [a, b] = [minus(weightOf(starts[0]), plain.original), minus(weightOf(same), plain.original)];
    expect(Number(b.data[5]) / Number(a.data[5])).toBeCloseTo(2, 5);
    const file = randlora.toPeft!(starts.map(exported), starts[0].options);
    const { factors, options } = randlora.fromPeft!(file, specs);
    for (const s of starts) {
      const again = { ...s, options, factors: factors.get(s.spec.name)! };
      expect(maxDifference(weightOf(again), weightOf(s))).toBeLessThan(1e-6);
    }
  });

  it.each(['randlora-llama', 'randlora-gpt2'])('gives PEFT’s logits and losses: %s', (name) =>
    checkAgainstPeft(randlora, name),
  );

  it('refuses a PEFT file where very sparse layers have no common basis', async () => {
    const starts = await Promise.all(
      [layer(30, 20), layer(60, 50)].map((l) => start(randlora, l, { rank: 5, basis: 'verySparse' })),
    );
    expect(() => randlora.toPeft!(starts.map(exported), starts[0].options)).toThrow(
      /not slices of one basis/,
    );
  });
});

describe('what RandLoRA can fit', () => {
  it.each([
    [0, 0.685, 0.875],
    [0.5, 0.678, 0.427],
    [1, 0.599, 0.063],
    [2, 0.552, 0.0],
  ])('singular values i^−%f: error %f, and %f at rank 8', async (p, expected, low) => {
    const n = 64;
    const values = Float64Array.from({ length: n }, (_, i) => (i + 1) ** -p);
    const [u, v] = [1, 2].map((seed) => {
      const g = normal([n, n], seed).data as Float32Array;
      return svd(matrix(n, n, Float64Array.from(g))).u;
    });
    const scaled = { ...u, data: u.data.map((c, i) => c * values[i % n]) };
    const target = multiply(scaled, transpose(v)).data;
    const total = values.reduce((t, s) => t + s * s, 0);
    expect(values.reduce((t, s, i) => t + (i < 8 ? 0 : s * s), 0) / total).toBeCloseTo(low, 2);
    const { frozen } = (await start(randlora, layer(n, n), { rank: 4 })).factors;
    const bases = { A: frozen.A.data as Float32Array, B: frozen.B.data as Float32Array, r: 4 };
    const gamma = normal([n * (n / 4)], 5).data as Float32Array;
    expect(squaredErrorOfFit(target, bases, gamma) / total).toBeCloseTo(expected, 1);
  });
});
