import { describe, expect, it } from 'vitest';
import { createEngine, type Engine } from '../engine/index.ts';
import {
  evaluate,
  gradients,
  input,
  mul,
  type NDArray,
  program,
  sub,
  sum,
  type Tensor,
  transpose,
  zeros,
} from '../graph/index.ts';
import { random, svd } from '../linalg/index.ts';
import type { Context } from '../models/context.ts';
import { architectureOf } from '../models/index.ts';
import { weightFormContract } from './form.contract.ts';
import {
  arraysOf,
  gradientsOf,
  layer,
  maxDifference,
  normal,
  outputOf,
  rankOf,
  type Started,
  shaken,
  start,
  weightOf,
} from './form-checks.contract.ts';
import { sltrain } from './sltrain.ts';
import { drawSupport } from './sltrain-support.ts';

for (const options of [{ density: 0.1 }, { density: 0.1, trainScale: true }, { density: 0 }])
  weightFormContract(sltrain, { rank: 4, alpha: 6, ...options }, [sltrain]);

const [M, N] = [20, 30];
const options = { rank: 4, alpha: 6, density: 0.1 };
const x = normal([5, N], 3);

function support({ factors }: Started): number[] {
  return Array.from(factors.frozen.support.data, Number);
}

function symbolsOf(s: Started) {
  const named = Object.entries(arraysOf(s));
  return Object.fromEntries(named.map(([name, a]) => [name, input(name, a.shape, a.dtype)]));
}

/** y without bias; the form never asks for W₀. */
function outputSymbol(s: Started, x: Tensor, p = symbolsOf(s)): Tensor {
  const never = () => {
    throw new Error('W₀ is discarded');
  };
  const base = { spec: s.spec, weight: input('base', [M, N]), forward: never, forwardWith: never };
  return s.form.forward!(x, base, p, s.options, {} as Context);
}

/** s B A alone. */
function product(s: Started): NDArray {
  const { values } = s.factors.trainable;
  const none = { ...values, data: values.data.map(() => 0 as never) };
  return weightOf({ ...s, factors: { ...s.factors, trainable: { ...s.factors.trainable, values: none } } });
}

describe('support', () => {
  it('has ⌊δ m n⌋ different positions of 32 bits, other ones in each layer, the same from the same seed', async () => {
    const s = await start(sltrain, layer(M, N), options);
    const positions = support(s);
    expect(s.factors.frozen.support.dtype).toBe('int32');
    expect(positions).toHaveLength(60);
    expect(new Set(positions).size).toBe(60);
    expect(positions).toEqual([...positions].sort((a, b) => a - b));
    expect(Math.max(...positions)).toBeLessThan(M * N);
    expect(support(await start(sltrain, layer(M, N), options))).toEqual(positions);
    const named = { ...layer(M, N), name: 'other' };
    expect(support(await start(sltrain, named, options))).not.toEqual(positions);
    expect(support(await start(sltrain, layer(M, N), options, { seed: 2 }))).not.toEqual(positions);
  });

  it('is any set as likely', () => {
    const [size, count, rounds] = [10, 3, 6000];
    const drawn = new Array(size).fill(0);
    const cursor = random(1, 'support').cursor();
    for (let i = 0; i < rounds; i++) for (const at of drawSupport(size, count, cursor)) drawn[at]++;
    // Four standard deviations of a binomial share.
    const deviation = Math.sqrt((0.3 * 0.7) / rounds);
    for (const times of drawn) expect(Math.abs(times / rounds - 0.3)).toBeLessThan(4 * deviation);
    expect([...drawSupport(4, 4, cursor)]).toEqual([0, 1, 2, 3]);
    expect([...drawSupport(4, 0, cursor)]).toEqual([]);
  });

  it('refuses what 32 bits cannot name', async () => {
    const huge = { ...layer(M, N), out: 65_536, in: 65_536 };
    expect(() => sltrain.shapes(huge, sltrain.options.parse(options))).toThrow(
      expect.objectContaining({ code: 'adapters/too-large' }),
    );
  });

  it('is all that the weight has beside the product, which it is added to', async () => {
    const s = shaken(await start(sltrain, layer(M, N), options));
    const [w, low] = [weightOf(s).data as Float64Array, product(s).data as Float64Array];
    const { data: values } = s.factors.trainable.values;
    const left = new Map(support(s).map((at, i) => [at, Number(values[i])]));
    w.forEach((v, at) => {
      expect(v - low[at]).toBeCloseTo(left.get(at) ?? 0, 10);
      if (!left.has(at)) expect(v).toBe(low[at]);
    });
  });
});

describe('the start', () => {
  it('is the sparse layer alone, within the bounds of both draws', async () => {
    const s = await start(sltrain, layer(M, N), options);
    const dense = new Float64Array(M * N);
    for (const [i, at] of support(s).entries()) dense[at] = Number(s.factors.trainable.values.data[i]);
    const sparse: NDArray = { dtype: 'float64', shape: [M, N], data: dense };
    expect(maxDifference(weightOf(s), sparse)).toBe(0);
    const alone = { ...s, base: sparse, form: { ...sltrain, forward: undefined, weight: (w: never) => w } };
    expect(maxDifference(outputOf(s, x), outputOf(alone, x))).toBeLessThan(1e-9);
    const { A, values } = s.factors.trainable;
    for (const { data } of [A, values]) {
      const most = (data as Float32Array).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
      expect(most).toBeLessThanOrEqual(1 / Math.sqrt(N));
      expect(most).toBeGreaterThan(0.9 / Math.sqrt(N));
    }
  });

  it('moves B and the values first: A waits for B', async () => {
    const none = (a: NDArray) => a.data.every((v) => Number(v) === 0);
    const g = gradientsOf(await start(sltrain, layer(M, N), options), x);
    expect([g.A, g.B, g.values].map(none)).toEqual([true, false, false]);
    const plain = await start(sltrain, layer(M, N), { ...options, density: 0 });
    expect(Object.keys(arraysOf(plain))).toEqual(['A', 'B']);
    expect(none(outputOf(plain, x))).toBe(true);
    const h = gradientsOf(plain, x);
    expect([h.A, h.B].map(none)).toEqual([true, false]);
  });
});

/** Gradients that never form ∂L/∂W: ∂B = s δᵀ(x Aᵀ), ∂A = s (δ B)ᵀ x, ∂v_k = Σ δ_{·i} x_{·j}. */
function leanGradients(s: Started, delta: NDArray): Record<string, number[]> {
  const { A, B } = s.factors.trainable;
  const [T, r, scale] = [x.shape[0], options.rank, options.alpha / options.rank];
  const at = (a: NDArray, i: number, j: number) => Number(a.data[i * a.shape[1] + j]);
  const low = (t: number, k: number) => {
    let sumOf = 0;
    for (let j = 0; j < N; j++) sumOf += at(x, t, j) * at(A, k, j);
    return sumOf;
  };
  const back = (t: number, k: number) => {
    let sumOf = 0;
    for (let i = 0; i < M; i++) sumOf += at(delta, t, i) * at(B, i, k);
    return sumOf;
  };
  const over = (of: (t: number) => number) =>
    Array.from({ length: T }, (_, t) => of(t)).reduce((a, b) => a + b);
  const list = (rows: number, columns: number, of: (i: number, j: number) => number) =>
    Array.from({ length: rows * columns }, (_, i) => of(Math.floor(i / columns), i % columns));
  return {
    A: list(r, N, (k, j) => scale * over((t) => back(t, k) * at(x, t, j))),
    B: list(M, r, (i, k) => scale * over((t) => at(delta, t, i) * low(t, k))),
    values: support(s).map((p) => over((t) => at(delta, t, Math.floor(p / N)) * at(x, t, p % N))),
  };
}

describe('gradients', () => {
  it('are those that need no gradient of W, and those of the dense graph', async () => {
    const s = shaken(await start(sltrain, layer(M, N), options));
    const lean = leanGradients(s, normal([5, M], 55));
    const own = gradientsOf(s, x);
    const dense = gradientsOf({ ...s, form: { ...sltrain, forward: undefined } }, x);
    for (const [name, expected] of Object.entries(lean))
      expected.forEach((v, i) => {
        expect(Number(own[name].data[i]), `${name}[${i}]`).toBeCloseTo(v, 5);
        expect(Number(dense[name].data[i]), `${name}[${i}]`).toBeCloseTo(v, 5);
      });
  });

  it('of x are those of the dense graph', async () => {
    const s = shaken(await start(sltrain, layer(M, N), options));
    const [xs, delta] = [input('x', x.shape), input('delta', [5, M])];
    const [dx] = gradients(sum(mul(outputSymbol(s, xs), delta)), [xs]);
    const given: Record<string, NDArray> = { delta: normal([5, M], 55), ...arraysOf(s) };
    const p = program({ dx });
    const result = evaluate(p, Object.fromEntries(p.inputs.map(({ name }) => [name, given[name]])));
    const w = weightOf(s).data;
    for (let t = 0; t < 5; t++)
      for (let j = 0; j < N; j++) {
        let expected = 0;
        for (let i = 0; i < M; i++) expected += Number(given.delta.data[t * M + i]) * Number(w[i * N + j]);
        expect(Number(result.dx.data[t * N + j])).toBeCloseTo(expected, 5);
      }
  });
});

it('reaches full rank with r below it', async () => {
  // 70 positions; a matching of 20 rows needs about 20 ln 20 = 60.
  const s = shaken(await start(sltrain, layer(M, N), { ...options, density: 0.12 }));
  expect(rankOf(product(s), svd)).toBe(4);
  expect(rankOf(weightOf(s), svd)).toBe(20);
});

describe('published sizes', () => {
  const shapes = [
    { name: '60M', rank: 128, sizes: [512, 1376, 8], ours: 43.5, full: 58.1 },
    { name: '130M', rank: 256, sizes: [768, 2048, 12], ours: 96.5, full: 134.1 },
    { name: '350M', rank: 256, sizes: [1024, 2736, 24], ours: 194.2, full: 368.0 },
    { name: '1B', rank: 512, sizes: [2048, 5461, 24], ours: 645.5, full: 1339 },
  ];
  it.each(shapes)('$name', ({ rank, sizes: [d, width, blocks], ours, full }) => {
    const config = {
      ...{ model_type: 'llama', vocab_size: 32_000, hidden_size: d, intermediate_size: width },
      ...{ num_hidden_layers: blocks, num_attention_heads: 8, max_position_embeddings: 256 },
      ...{ rms_norm_eps: 1e-6, tie_word_embeddings: false },
    };
    const { layers, parameters } = architectureOf(config, 'language-modelling');
    const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
    const total = [...parameters.values()].reduce((n, { shape }) => n + size(shape), 0);
    const o = sltrain.options.parse({ rank });
    const matrices = layers.filter((l) => l.block !== undefined);
    const saved = matrices.reduce((n, l) => {
      const trained = Object.values(sltrain.shapes(l, o).trainable).reduce((k, shape) => k + size(shape), 0);
      return n + l.out * l.in - trained;
    }, 0);
    expect(total / 1e6).toBeCloseTo(full, full > 1000 ? 0 : 1);
    // Given to a tenth of a million, cut off.
    expect(Math.abs((total - saved) / 1e6 - ours)).toBeLessThan(0.1);
  });
});

/** ‖W − W*‖²/‖W*‖² after Adam on the trained factors, at a rate that falls to zero. */
async function errorAfter(engine: Engine, s: Started, target: NDArray, updates: number): Promise<number> {
  const p = symbolsOf(s);
  const x = input('x', [N, N]);
  const error = sub(transpose(outputSymbol(s, x, p)), input('target', [M, N]));
  const loss = sum(mul(error, error));
  const names = Object.keys(s.factors.trainable);
  const derived = gradients(
    loss,
    names.map((name) => p[name]),
  );
  const step = await engine.compile(
    program({ loss, ...Object.fromEntries(names.map((n, i) => [n, derived[i]])) }),
  );
  const moments = names.map((name) => {
    const size = s.factors.trainable[name].data.length;
    return { m: new Float64Array(size), v: new Float64Array(size) };
  });
  const identity = zeros([N, N]);
  for (let i = 0; i < N; i++) identity.data[i * N + i] = 1;
  let last = Number.NaN;
  for (let t = 1; t <= updates; t++) {
    const result = await step.run({ x: identity, target, ...arraysOf(s) });
    last = Number(result.loss.data[0]);
    const rate = 0.05 * (1 - (t - 1) / updates);
    for (const [k, name] of names.entries()) {
      const { m, v } = moments[k];
      const weights = s.factors.trainable[name].data;
      result[name].data.forEach((g: number | bigint, i: number) => {
        m[i] = 0.9 * m[i] + 0.1 * Number(g);
        v[i] = 0.99 * v[i] + 0.01 * Number(g) ** 2;
        const root = Math.sqrt(v[i] / (1 - 0.99 ** t)) + 1e-12;
        weights[i] = Number(weights[i]) - (rate * m[i]) / (1 - 0.9 ** t) / root;
      });
    }
  }
  return last / (target.data as Float32Array).reduce((n, v) => n + v * v, 0);
}

it('finds a teacher of its own structure, which the product alone does not', async () => {
  const engine = await createEngine({ threads: 1 });
  const own = { rank: 2, alpha: 2, density: 0.05 };
  const teacher = shaken(await start(sltrain, layer(M, N), own), 1);
  const w = weightOf(teacher);
  const target = { ...w, dtype: 'float32' as const, data: Float32Array.from(w.data as Float64Array) };
  const student = await start(sltrain, layer(M, N), own);
  expect(support(student)).toEqual(support(teacher));
  const plain = await start(sltrain, layer(M, N), { ...own, density: 0 });
  expect(await errorAfter(engine, student, target, 800)).toBeLessThan(1e-6);
  expect(await errorAfter(engine, plain, target, 800)).toBeGreaterThan(0.01);
  await engine.dispose();
});
