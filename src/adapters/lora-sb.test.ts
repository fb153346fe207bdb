import { describe, expect, it } from 'vitest';
import {
  array,
  evaluate,
  gradients,
  input,
  matmul,
  type NDArray,
  program,
  scale,
  square,
  sub,
  sum,
} from '../graph/index.ts';
import { multiply, qr, svd, transpose } from '../linalg/index.ts';
import {
  counts,
  fullGradientOf,
  gradientsOf,
  layer,
  maxDifference,
  minus,
  normal,
  rankOf,
  type Started,
  start,
  weightOf,
  withFactors,
} from './form-checks.contract.ts';
import { loraSb } from './lora-sb.ts';
import { loraXs } from './lora-xs.ts';

const [M, N] = [8, 12];
const gradient = normal([M, N], 9);
const x = normal([2, 3, N], 3);
const begin = (
  options: Record<string, unknown> = {},
  g: NDArray = gradient,
  spec = layer(g.shape[0], g.shape[1]),
) => start(loraSb, spec, { rank: 4, ...options }, { statistics: { gradient: g } });

const matrix = (a: NDArray) => ({
  rows: a.shape[0],
  cols: a.shape[1],
  data: Float64Array.from(a.data as Float32Array),
});
const arrayOf = (m: { rows: number; cols: number; data: Float64Array }) =>
  array(m.data, [m.rows, m.cols], 'float64');
const norm = (a: NDArray) => Math.sqrt(Array.from(a.data, Number).reduce((t, v) => t + v ** 2, 0));
const identity = (r: number) =>
  array(
    Float64Array.from({ length: r * r }, (_, i) => Number(i % (r + 1) === 0)),
    [r, r],
    'float64',
  );
const signs = (rate: number) =>
  array(
    Float64Array.from(gradient.data as Float32Array, (g) => -rate * Math.sign(g)),
    [M, N],
    'float64',
  );

/** One step of gradient descent on R and on W; returns both weights. */
function steps(s: Started, rate: number): { own: NDArray; full: NDArray } {
  const { R } = s.factors.trainable;
  const g = gradientsOf(s, x).R;
  const moved = {
    ...R,
    data: Float64Array.from(R.data as Float32Array, (v, i) => v - rate * Number(g.data[i])),
  };
  const full = fullGradientOf(s, x);
  return {
    own: weightOf(withFactors(s, { R: moved })),
    full: {
      ...full,
      data: Float64Array.from(full.data as Float64Array, (v, i) => Number(weightOf(s).data[i]) - rate * v),
    },
  };
}

describe('LoRA-SB', () => {
  it('starts with orthonormal factors and a sorted, non-negative diagonal core', async () => {
    const { A, B } = (await begin()).factors.frozen;
    expect(maxDifference(arrayOf(multiply(matrix(A), transpose(matrix(A)))), identity(4))).toBeLessThan(1e-5);
    expect(maxDifference(arrayOf(multiply(transpose(matrix(B)), matrix(B))), identity(4))).toBeLessThan(1e-5);
    const R = [...(await begin()).factors.trainable.R.data].map(Number);
    const diagonal = R.filter((_, i) => i % 5 === 0);
    expect(R.filter((v, i) => i % 5 !== 0 && v !== 0)).toEqual([]);
    expect(diagonal).toEqual([...diagonal].sort((a, b) => b - a));
    expect(diagonal[3]).toBeGreaterThanOrEqual(0);
  });

  it('starts with the best approximation of rank r of the first step', async () => {
    const s = await begin({ firstRate: 0.01 });
    const change = minus(weightOf(s), s.original);
    const { s: values } = svd(matrix(signs(0.01)));
    const rest = [...values.slice(4)].reduce((t, v) => t + v * v, 0);
    expect(norm(minus(change, signs(0.01))) ** 2).toBeCloseTo(rest, 8);
    expect(rankOf(change, svd)).toBe(4);
    expect(norm(change)).toBeCloseTo(Math.sqrt([...values.slice(0, 4)].reduce((t, v) => t + v * v, 0)), 6);
  });

  it("takes the run's first rate unless it is given, and moves nothing as it goes to zero", async () => {
    const size = async (options: Record<string, unknown>) => {
      const s = await begin(options);
      return norm(minus(weightOf(s), s.original));
    };
    expect(await size({})).toBeCloseTo(await size({ firstRate: 1e-3 }), 9);
    expect(await size({ firstRate: 1e-2 })).toBeCloseTo(10 * (await size({})), 5);
    expect(await size({ firstRate: 1e-7 })).toBeLessThan(1e-6);
  });

  it('gives no sign to an entry without gradient', async () => {
    const flat = { ...gradient, data: (gradient.data as Float32Array).map((v, i) => (i < N ? 0 : v)) };
    const s = await begin({ rank: 8 }, flat);
    const change = minus(weightOf(s), s.original);
    for (const v of change.data.slice(0, N)) expect(Math.abs(Number(v))).toBeLessThan(1e-9);
    expect(Math.abs(Number(change.data[N]))).toBeCloseTo(1e-3, 8);
  });

  it.each([1, 0.5])('differentiates to s Bᵀ G Aᵀ at s = %f', async (scale) => {
    const s = await begin({ scale });
    const { A, B } = s.factors.frozen;
    const product = multiply(
      multiply(transpose(matrix(B)), matrix(fullGradientOf(s, x))),
      transpose(matrix(A)),
    );
    const expected = arrayOf({ ...product, data: product.data.map((v) => scale * v) });
    expect(maxDifference(gradientsOf(s, x).R, expected)).toBeLessThan(1e-5);
  });

  it('is full fine-tuning under gradient descent where r = m = n, and its projection where r = min(m, n)', async () => {
    const square = await start(
      loraSb,
      layer(N, N),
      { rank: N },
      { statistics: { gradient: normal([N, N], 4) } },
    );
    const { own, full } = steps(square, 0.1);
    expect(maxDifference(own, full)).toBeLessThan(1e-5);
    const s = await begin({ rank: M });
    const wide = steps(s, 0.1);
    const A = matrix(s.factors.frozen.A);
    const step = minus(wide.full, weightOf(s));
    const projected = arrayOf(multiply(multiply(matrix(step), transpose(A)), A));
    expect(maxDifference(minus(wide.own, weightOf(s)), projected)).toBeLessThan(1e-5);
    expect(norm(minus(projected, step))).toBeGreaterThan(0.1);
  });

  it('goes the same way at another scale when the rate is divided by its square', async () => {
    const [one, half] = [await begin(), await begin({ scale: 0.5 })];
    expect(maxDifference(weightOf(one), weightOf(half))).toBeLessThan(1e-6);
    expect(maxDifference(steps(one, 0.1).own, steps(half, 0.4).own)).toBeLessThan(1e-5);
  });

  it('trains r² numbers of a layer and needs a gradient', async () => {
    const s = await begin();
    expect([counts(s.factors.trainable), counts(s.factors.frozen)]).toEqual([16, 4 * (M + N)]);
    expect(loraSb.needs!(s.options)).toEqual({ gradient: { batches: 8 } });
    await expect(start(loraSb, layer(M, N), { rank: 4 })).rejects.toMatchObject({
      code: 'adapters/no-gradient',
    });
  });

  it('recovers a change of rank k ≤ r where LoRA-XS of the same r cannot', async () => {
    const rank = 3;
    const change = arrayOf(multiply(matrix(normal([M, rank], 30)), matrix(normal([rank, N], 31))));
    // Whitened inputs: X = √P Q with QᵀQ = I, so the gradient of the mean square at W₀ is −2 Δ.
    const q = qr(matrix(normal([48, N], 32))).q;
    const inputs = array(
      Float64Array.from(q.data, (v) => v * Math.sqrt(48)),
      [48, N],
      'float64',
    );
    const gradientAtStart = array(
      Array.from(change.data as Float32Array, (v) => -2 * Number(v)),
      [M, N],
    );
    const s = await begin({ rank, direction: 'gradient' }, gradientAtStart);
    const { A, B } = s.factors.frozen;
    const symbols = { A: input('A', A.shape), B: input('B', B.shape), R: input('R', [rank, rank]) };
    const zero = input('zero', [M, N]);
    const own = sub(s.form.weight(zero, symbols, s.options, s.spec), input('change', [M, N]));
    const loss = scale(sum(square(matmul(input('inputs', [48, N]), own, { transB: true }))), 1 / 48);
    const [g] = gradients(loss, [symbols.R]);
    const step = program({ loss, g });
    const R = {
      ...s.factors.trainable.R,
      data: Float64Array.from(s.factors.trainable.R.data as Float32Array),
    };
    const feeds = { A, B, R, change, inputs, zero: array(new Float64Array(M * N), [M, N]) };
    let last = Number.POSITIVE_INFINITY;
    for (let t = 0; t < 40; t++) {
      const result = evaluate(step, feeds);
      last = Number(result.loss.data[0]);
      for (let i = 0; i < R.data.length; i++) R.data[i] -= 0.3 * Number(result.g.data[i]);
    }
    expect(last).toBeLessThan(1e-8);
    // The best that any core can do between the singular vectors of W₀: what they do not span of Δ stays.
    const xs = await start(loraXs, layer(M, N), { rank });
    const { u, vt } = svd(matrix(xs.factors.frozen.A));
    const left = matrix(xs.factors.frozen.B);
    expect(u.cols).toBe(rank);
    const inside = multiply(multiply(transpose(left), matrix(change)), transpose(vt));
    const reached = arrayOf(multiply(multiply(left, inside), vt));
    expect(norm(minus(change, reached)) ** 2).toBeGreaterThan(0.5 * norm(change) ** 2);
  });
});

describe('LoRA-XS', () => {
  it('freezes the leading singular triples of W₀ and trains almost nothing at first', async () => {
    const s = await start(loraXs, layer(M, N), { rank: 4, alpha: 4 });
    const { A, B } = s.factors.frozen;
    const { u, s: values, vt } = svd(matrix(s.original));
    for (let k = 0; k < 4; k++) {
      for (let j = 0; j < N; j++)
        expect(Number(A.data[k * N + j])).toBeCloseTo(values[k] * vt.data[k * N + j], 5);
      for (let i = 0; i < M; i++) expect(Number(B.data[i * 4 + k])).toBeCloseTo(u.data[i * u.cols + k], 5);
    }
    expect(norm(s.factors.trainable.R)).toBeGreaterThan(1e-5);
    expect(norm(s.factors.trainable.R)).toBeLessThan(1e-4);
    expect(norm(minus(weightOf(s), s.original))).toBeLessThan(1e-3);
  });
});
