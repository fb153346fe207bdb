import { describe, expect, it } from 'vitest';
import { gradients, type NDArray, sum } from '../graph/index.ts';
import { matrix, solve, svd } from '../linalg/index.ts';
import {
  checkForwardIsWeight,
  checkGradients,
  checkShapes,
  exported,
  layer,
  matmulFlops,
  maxDifference,
  minus,
  normal,
  outputOf,
  rankOf,
  shaken,
  start,
  trace,
  weightOf,
  withFactors,
} from './form-checks.contract.ts';
import { hut } from './hut.ts';
import { lora } from './lora.ts';
import { checkAgainstPeft } from './peft-golden.contract.ts';

const x = normal([2, 6], 3);

describe('HUT', () => {
  it.each([
    ['residual', 0],
    ['direct', 1e-6],
  ])('starts at W₀: %s', async (mode, tolerance) => {
    for (const init of ['kaiming', 'gaussian']) {
      const s = await start(hut, layer(5, 6), { rank: 3, mode, init });
      expect(maxDifference(weightOf(s), s.original)).toBeLessThanOrEqual(tolerance);
      checkShapes(s);
    }
  });

  it.each(['residual', 'direct'])(
    'has right gradients, merges exactly, goes through HIRA: %s',
    async (mode) => {
      const s = shaken(await start(hut, layer(5, 6), { rank: 2, mode, scale: 0.7 }));
      checkGradients(s, x);
      checkForwardIsWeight(s, x);
      const { options, factors } = hut.fromPeft!(hut.toPeft!([exported(s)], s.options), [s.spec]);
      expect(options).toMatchObject({ mode: 'residual', scale: 1, rank: mode === 'direct' ? 3 : 2 });
      const again = { ...s, options, factors: factors.get(s.spec.name)! };
      expect(maxDifference(outputOf(again, x), outputOf(s, x))).toBeLessThan(1e-6);
    },
  );

  it('never moves a weight that is zero', async () => {
    const weight = normal([5, 6], 7);
    for (const i of [0, 8, 29]) weight.data[i] = 0;
    const w = weightOf(shaken(await start(hut, layer(5, 6), { rank: 3 }, { weight })));
    for (const i of [0, 8, 29]) expect(w.data[i]).toBe(0);
    expect([...w.data].filter((v) => v === 0)).toHaveLength(3);
  });

  it('rescales rows and columns at rank 1', async () => {
    const s = shaken(await start(hut, layer(5, 6), { rank: 1 }));
    const { A, B } = s.factors.trainable;
    const w = weightOf(s);
    for (let i = 0; i < 5; i++)
      for (let j = 0; j < 6; j++)
        expect(Number(w.data[i * 6 + j])).toBeCloseTo(
          Number(s.original.data[i * 6 + j]) * (1 + Number(B.data[i]) * Number(A.data[j])),
          6,
        );
  });

  it('changes by more than rank r, but by LoRA’s very change where W₀ is all ones', async () => {
    const s = shaken(await start(hut, layer(5, 6), { rank: 2 }));
    expect(rankOf(minus(weightOf(s), s.original), svd)).toBe(5);
    const ones = normal([5, 6], 7);
    ones.data.fill(1 as never);
    const own = shaken(await start(hut, layer(5, 6), { rank: 2 }, { weight: ones }));
    const twin = await start(lora, layer(5, 6), { rank: 2, alpha: 2 }, { weight: ones });
    const same = withFactors(twin, { ...own.factors.trainable });
    expect(rankOf(minus(weightOf(own), ones), svd)).toBe(2);
    expect(maxDifference(weightOf(own), weightOf(same))).toBeLessThan(1e-12);
  });

  it('adds forward products independent of the tokens, and dense ones backward', async () => {
    const [m, n, r] = [20, 12, 3];
    const s = await start(hut, layer(m, n), { rank: r });
    const l = await start(lora, layer(m, n), { rank: r });
    const flops = (started: typeof s, tokens: number) => {
      const { y, inputs } = trace(started, normal([tokens, n], 1));
      const g = gradients(sum(y), [inputs.A, inputs.B]);
      const forward = matmulFlops([y]);
      return { forward, backward: matmulFlops(g) };
    };
    for (const tokens of [4, 40]) {
      expect(flops(s, tokens).forward).toBe(2 * m * n * tokens + 2 * r * m * n);
      expect(flops(l, tokens).forward).toBe(2 * m * n * tokens + 2 * r * (m + n) * tokens);
      // The dense gradient of W, and two products of it with the factors.
      expect(flops(s, tokens).backward).toBe(2 * m * n * tokens + 4 * r * m * n);
    }
    const crossover = (m * n) / (m + n);
    const added = (tokens: number, of: typeof s) => flops(of, tokens).forward - 2 * m * n * tokens;
    expect(added(Math.ceil(crossover), s)).toBeLessThan(added(Math.ceil(crossover), l));
    expect(added(Math.floor(crossover), s)).toBeGreaterThan(added(Math.floor(crossover), l));
  });

  it('recovers a target W₀ ∘ (positive, rank 2), which LoRA of rank 2 cannot reach', async () => {
    const [m, n, r] = [10, 8, 2];
    const s = await start(hut, layer(m, n), { rank: r, mode: 'direct' });
    const positive = (shape: number[], seed: number) =>
      Float64Array.from(normal(shape, seed).data as Float32Array, (v) => Math.exp(v / 2));
    const [b, a] = [positive([m, r], 4), positive([r, n], 5)];
    const w0 = s.original.data as Float32Array;
    const target = Float64Array.from(w0, (w, at) => {
      const [i, j] = [Math.floor(at / n), at % n];
      return w * (b[i * r] * a[j] + b[i * r + 1] * a[n + j]);
    });
    const A = Float64Array.from(s.factors.trainable.A.data as Float32Array);
    const B = Float64Array.from(s.factors.trainable.B.data as Float32Array);
    // Weighted least squares in turn: rows of B, then columns of A.
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < m; i++)
        solvePair(
          (j) => [A[j] * w0[i * n + j], A[n + j] * w0[i * n + j], target[i * n + j]],
          n,
          (k, v) => {
            B[i * r + k] = v;
          },
        );
      for (let j = 0; j < n; j++)
        solvePair(
          (i) => [B[i * r] * w0[i * n + j], B[i * r + 1] * w0[i * n + j], target[i * n + j]],
          m,
          (k, v) => {
            A[k * n + j] = v;
          },
        );
    }
    const array = (shape: number[], data: Float64Array): NDArray => ({
      dtype: 'float32',
      shape,
      data: Float32Array.from(data),
    });
    const w = weightOf(withFactors(s, { A: array([r, n], A), B: array([m, r], B) }));
    expect(maxDifference(w, { ...w, data: target })).toBeLessThan(1e-3);
    const change = svd(
      matrix(
        m,
        n,
        target.map((v, i) => v - w0[i]),
      ),
    ).s;
    expect(Math.hypot(...change.slice(r)) / Math.hypot(...change)).toBeGreaterThan(0.3);
  });

  it('drops the input of the change only', async () => {
    const s = shaken(await start(hut, layer(5, 6), { rank: 2, dropout: 0.5 }));
    const zero = { ...x, data: new Float32Array(12) };
    const dropped = outputOf(s, x, { training: true, drop: zero });
    const plain = outputOf(await start(hut, layer(5, 6), { rank: 2 }), x);
    expect(maxDifference(dropped, plain)).toBeLessThan(1e-12);
  });

  it('writes layers of different ranks with one, which is all that PEFT reads', async () => {
    const o = { rank: 2, rankPattern: { m5x6: 3 } };
    const specs = [layer(5, 6), layer(4, 7)];
    const starts = await Promise.all(specs.map(async (l) => shaken(await start(hut, l, o))));
    const file = hut.toPeft!(starts.map(exported), starts[1].options);
    expect(file.config).toMatchObject({ peft_type: 'HIRA', r: 3 });
    const { factors } = hut.fromPeft!(file, specs);
    for (const s of starts)
      expect(maxDifference(weightOf({ ...s, factors: factors.get(s.spec.name)! }), weightOf(s))).toBe(0);
  });

  it.each(['hira-llama', 'hira-gpt2'])('gives PEFT’s logits and losses: %s', (name) =>
    checkAgainstPeft(hut, name),
  );

  it('refuses a rank larger than the matrix', async () => {
    await expect(start(hut, layer(5, 6), { rank: 6 })).rejects.toMatchObject({ code: 'adapters/rank' });
  });
});

/** Least squares of two unknowns over `count` rows [f, g, y]. */
function solvePair(
  row: (i: number) => readonly [number, number, number],
  count: number,
  set: (k: number, v: number) => void,
): void {
  const [gram, right] = [new Float64Array(4), new Float64Array(2)];
  for (let i = 0; i < count; i++) {
    const [f, g, y] = row(i);
    gram[0] += f * f;
    gram[1] += f * g;
    gram[3] += g * g;
    right[0] += f * y;
    right[1] += g * y;
  }
  gram[2] = gram[1];
  gram[0] += 1e-9;
  gram[3] += 1e-9;
  const { data } = solve(matrix(2, 2, gram), matrix(2, 1, right));
  for (const k of [0, 1]) set(k, data[k]);
}
