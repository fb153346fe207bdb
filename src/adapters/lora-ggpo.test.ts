import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { tinyBatch, tinyModel, tinySetup, tinyUpdater } from '../../tests/training/tiny.ts';
import {
  contents,
  runTiny,
  temporaryFolder,
  tinyFolder,
  tinyTexts,
  writeRows,
} from '../../tests/training/tiny-folder.ts';
import { evaluate, gradients, input, linear, mul, type NDArray, program, sum } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import type { Context } from '../models/context.ts';
import { batchShape } from '../training/batch-feeds.ts';
import {
  layer,
  maxDifference,
  normal,
  outputOf,
  type Started,
  shaken,
  start,
  weightOf,
} from './form-checks.contract.ts';
import { lora } from './lora.ts';
import { loraGgpo } from './lora-ggpo.ts';
import { deviations, gradientRows } from './lora-ggpo-norms.ts';
import type { LoraGgpoOptions } from './lora-ggpo-options.ts';
import { adapted, stepInfo } from './run-steps.contract.ts';
import type { StepInfo } from './weight-form.ts';

const [M, N, RANK] = [8, 12, 3];
const SCALE = 2;
const gradientsOfFactors = { A: normal([RANK, N], 21, 0.5), B: normal([M, RANK], 22, 0.5) };

/** A layer amid training: factors that have moved, and a gradient that was seen. */
async function amid(more: Record<string, unknown> = {}): Promise<Started> {
  const s = shaken(await start(loraGgpo, layer(M, N), { rank: RANK, ...more }));
  const { A, B } = gradientsOfFactors;
  const name = s.spec.name;
  const info = stepInfo([adapted(s)], 0, { gradients: { [`${name}#A`]: A, [`${name}#B`]: B } });
  await loraGgpo.steps!(s.options, [adapted(s)]).afterGradient!(info as StepInfo);
  return s;
}

const rowsOf = (a: NDArray) =>
  Array.from({ length: a.shape[0] }, (_, i) =>
    Math.hypot(...Array.from(a.data.slice(i * a.shape[1], (i + 1) * a.shape[1]), Number)),
  );

function product(a: NDArray, b: NDArray): number[] {
  const [m, k] = a.shape;
  const n = b.shape[1];
  return Array.from({ length: m * n }, (_, at) => {
    let total = 0;
    for (let l = 0; l < k; l++)
      total += Number(a.data[Math.floor(at / n) * k + l]) * Number(b.data[l * n + (at % n)]);
    return total;
  });
}

/** Ĝ = s (B ∂A + ∂B A), made. */
function explicitGradient({ factors: { trainable } }: Started): NDArray {
  const { A, B } = gradientsOfFactors;
  const [x, y] = [product(trainable.B, A), product(B, trainable.A)];
  return { dtype: 'float32', shape: [M, N], data: Float32Array.from(x, (v, i) => SCALE * (v + y[i])) };
}

/** τ by the formula over whole matrices. */
function explicitTau(s: Started, sigma = 0.03, beta = 0.01): number[] {
  const [w, g] = [rowsOf(weightOf(s)), rowsOf(explicitGradient(s))];
  return w.map((x, i) => (sigma / Math.sqrt(N)) * Math.sqrt(x * x + beta * g[i] ** 2));
}

function tauOf(s: Started): number[] {
  const arrays = { ...s.factors.trainable, ...s.factors.frozen };
  const p = Object.fromEntries(Object.entries(arrays).map(([k, a]) => [k, input(k, a.shape)]));
  const tau = program({
    tau: deviations(input('base', s.base.shape), p, SCALE, s.options as LoraGgpoOptions),
  });
  const feeds: Record<string, NDArray> = { base: s.base, ...arrays };
  const used = Object.fromEntries(tau.inputs.map(({ name }) => [name, feeds[name]]));
  return Array.from(evaluate(tau, used).tau.data as Float64Array);
}

const closeTo = (a: readonly number[], b: readonly number[], share: number) => {
  expect(a).toHaveLength(b.length);
  a.forEach((x, i) => {
    expect(Math.abs(x / b[i] - 1)).toBeLessThan(share);
  });
};

describe('sizes of the noise', () => {
  it('come through r×r products as from the explicit matrices', async () => {
    const s = await amid();
    const { A, B } = s.factors.trainable;
    const { A: dA, B: dB } = gradientsOfFactors;
    closeTo([...gradientRows({ A, B, dA, dB }, SCALE)], rowsOf(explicitGradient(s)), 1e-5);
    closeTo(tauOf(s), explicitTau(s), 1e-5);
  });

  it('are those of the weight alone at β = 0, and before there is a gradient', async () => {
    const s = await amid({ beta: 0 });
    closeTo(tauOf(s), explicitTau(s, 0.03, 0), 1e-5);
    const fresh = shaken(await start(loraGgpo, layer(M, N), { rank: RANK }));
    closeTo(tauOf(fresh), explicitTau(fresh, 0.03, 0), 1e-5);
  });

  it('grow with the rows of weight and gradient, and do not make the output depend on the width', async () => {
    const taus = async (options: Record<string, unknown>) => tauOf(await amid(options));
    const [small, large] = [await taus({}), await taus({ beta: 10 })];
    small.forEach((x, i) => {
      expect(large[i]).toBeGreaterThan(x);
    });
    // Var (x Eᵀ)_i = n τ_i² = σ² (w² + β γ²) for x of unit entries.
    const s = await amid();
    const [w, g] = [rowsOf(weightOf(s)), rowsOf(explicitGradient(s))];
    closeTo(
      tauOf(s).map((x) => N * x * x),
      w.map((x, i) => 0.03 ** 2 * (x * x + 0.01 * g[i] ** 2)),
      1e-5,
    );
  });

  it('are (σ w + β γ²)/√m in the form of sd-scripts, which begins with the second update', async () => {
    const s = await amid({ noise: 'sdscripts', beta: 0.1 });
    const { A, B } = s.factors.trainable;
    const mean = rowsOf(s.base).reduce((t, x) => t + x, 0) / M;
    const ba = rowsOf({ dtype: 'float32', shape: [M, N], data: Float32Array.from(product(B, A)) });
    const g = rowsOf(explicitGradient(s));
    closeTo(
      tauOf(s),
      ba.map((x, i) => (0.03 * Math.hypot(mean, x) + 0.1 * g[i] ** 2) / Math.sqrt(M)),
      1e-5,
    );
    const fresh = shaken(await start(loraGgpo, layer(M, N), { rank: RANK, noise: 'sdscripts' }));
    expect(tauOf(fresh).every((x) => x === 0)).toBe(true);
  });
});

/** The trained layer as a program of x and of the noise Z, W₀ + s B A + E. */
function perturbed(s: Started, x: NDArray) {
  const weight = input('base', s.base.shape);
  const arrays = { ...s.factors.trainable, ...s.factors.frozen };
  const p = Object.fromEntries(Object.entries(arrays).map(([k, a]) => [k, input(k, a.shape)]));
  const forwardWith = (h: Parameters<typeof linear>[0], w: typeof weight) => linear(h, w);
  const base = { spec: s.spec, weight, forwardWith, forward: (h: typeof weight) => linear(h, weight) };
  const context = {
    training: true,
    dropout: (h) => h,
    normal: (shape) => input('z', shape),
  } as Partial<Context> as Context;
  const xs = input('x', x.shape);
  const y = loraGgpo.forward!(xs, base, p, s.options, context);
  const feeds: Record<string, NDArray> = { base: s.base, x, ...arrays };
  const run = (what: Record<string, typeof y>, more: Record<string, NDArray>) => {
    const traced = program(what);
    const all = { ...feeds, ...more };
    return evaluate(traced, Object.fromEntries(traced.inputs.map(({ name }) => [name, all[name]])));
  };
  return { x: xs, y, p, run };
}

const draw = (i: number): NDArray => {
  const z = { dtype: 'float32', shape: [M, N], data: new Float32Array(M * N) } as const;
  random(9, 'z').fillNormal(z.data, i);
  return { ...z };
};
const identity: NDArray = {
  dtype: 'float32',
  shape: [N, N],
  data: Float32Array.from({ length: N * N }, (_, i) => Number(i % (N + 1) === 0)),
};

describe('the noise', () => {
  it('has the standard deviation τ in each row, and nothing outside training', async () => {
    const s = await amid();
    const { y, run } = perturbed(s, identity);
    const plain = outputOf(s, identity);
    const squares = new Float64Array(M);
    const draws = 1500;
    for (let d = 0; d < draws; d++) {
      const out = run({ y }, { z: draw(d) }).y.data as Float64Array;
      for (let i = 0; i < out.length; i++) squares[i % M] += (out[i] - Number(plain.data[i])) ** 2;
    }
    closeTo(
      [...squares].map((x) => Math.sqrt(x / (draws * N))),
      explicitTau(s),
      0.02,
    );
    const twin = { ...s, form: lora };
    expect(outputOf(s, identity).data).toEqual(outputOf(twin, identity).data);
    expect(weightOf(s).data).toEqual(weightOf(twin).data);
    expect(loraGgpo.toPeft!([], s.options).config).toEqual(lora.toPeft!([], s.options).config);
  });

  it('goes into ∂x, which is that of the perturbed weight', async () => {
    const s = await amid({ sigma: 0.5 });
    const x = normal([5, N], 4);
    const { x: xs, y, run } = perturbed(s, x);
    const direction = normal([5, M], 5);
    const [dx] = gradients(sum(mul(y, input('direction', [5, M]))), [xs]);
    const z = draw(3);
    const tau = explicitTau(s, 0.5);
    const w = Array.from(
      weightOf(s).data as Float64Array,
      (v, i) => v + tau[Math.floor(i / N)] * Number(z.data[i]),
    );
    const expected = product(direction, { dtype: 'float32', shape: [M, N], data: Float32Array.from(w) });
    const got = run({ dx }, { z, direction }).dx;
    got.data.forEach((v, i) => {
      expect(Number(v)).toBeCloseTo(expected[i], 4);
    });
  });

  it('adds Σ τ² E‖x‖² to a squared loss, and nothing to its mean gradient', async () => {
    const s = await amid({ sigma: 0.3 });
    const x = normal([6, N], 4);
    const { y, p, run } = perturbed(s, x);
    const loss = sum(mul(y, y));
    const [dB] = gradients(loss, [p.B]);
    const quiet = run({ loss, dB }, { z: { ...draw(0), data: new Float32Array(M * N) } });
    const draws = 4000;
    let mean = 0;
    const gradient = new Float64Array(M * RANK);
    for (let d = 0; d < draws; d++) {
      // Each draw and its mirror image: what is odd in the noise cancels.
      const z = draw(Math.floor(d / 2));
      const own = d % 2 === 0 ? z : { ...z, data: (z.data as Float32Array).map((v) => -v) };
      const out = run({ loss, dB }, { z: own });
      mean += Number(out.loss.data[0]) / draws;
      for (let i = 0; i < gradient.length; i++) gradient[i] += Number(out.dB.data[i]) / draws;
    }
    const norms = rowsOf(x).reduce((t, v) => t + v * v, 0);
    const expected = explicitTau(s, 0.3).reduce((t, v) => t + v * v * norms, 0);
    expect((mean - Number(quiet.loss.data[0])) / expected).toBeCloseTo(1, 1);
    gradient.forEach((v, i) => {
      expect(v).toBeCloseTo(Number(quiet.dB.data[i]), 3);
    });
  });
});

describe('MGPO', () => {
  it('looks at the factors ρ v/q further, and leaves them as they are', async () => {
    const s = await amid({ mode: 'mgpo', rho: 0.5 });
    const before = Object.values(s.factors.trainable).map((a) => a.data.slice());
    const x = normal([5, N], 4);
    const at = Object.fromEntries(
      (['A', 'B'] as const).map((name) => {
        const [a, g] = [s.factors.trainable[name], gradientsOfFactors[name]];
        // v and q after one update have the same share of what was seen.
        const length = Math.hypot(...(g.data as Float32Array));
        return [
          name,
          { ...a, data: (a.data as Float32Array).map((v, i) => v + (0.5 * Number(g.data[i])) / length) },
        ];
      }),
    );
    const there = { ...s, form: lora, factors: { trainable: at, frozen: {} } };
    expect(maxDifference(outputOf(s, x, { training: true }), outputOf(there, x))).toBeLessThan(1e-5);
    expect(maxDifference(outputOf(s, x), outputOf({ ...s, form: lora }, x))).toBe(0);
    expect(Object.values(s.factors.trainable).map((a) => a.data)).toEqual(before);
  });
});

describe('a run', () => {
  const folder = temporaryFolder();
  let model = '';
  beforeAll(async () => {
    model = await tinyFolder(folder, 'llama-tied');
  });

  const batches = [tinyBatch(4, 12)];
  const kind = { labelled: false, causal: true, packed: false, pairs: false };
  const shape = batchShape(batches[0].shape, kind);

  /** Losses and factors of updates; they begin at other factors where these are given. */
  async function trained(
    method: string,
    options: Record<string, unknown>,
    {
      updates = 5,
      rate = 1e-2,
      from,
    }: { updates?: number; rate?: number; from?: readonly NDArray['data'][] } = {},
  ) {
    const setup = await tinySetup(tinyModel('llama'), { method, options: { rank: 4, ...options } });
    setup.trainables.forEach(({ array }, i) => {
      if (from) (array.data as Float32Array).set(from[i] as Float32Array);
    });
    const { update } = tinyUpdater(setup, { batches, shape, rate });
    const losses: number[] = [];
    for (let t = 0; t < updates; t++) losses.push((await update()).loss);
    await setup.engine.dispose();
    return { losses, arrays: setup.trainables.map((t) => t.array.data) };
  }

  /** E[L(W + E)] − L(W) by the mean of 150 draws. */
  async function excess(from: readonly NDArray['data'][]): Promise<number> {
    const still = { rate: 0, from };
    const noisy = await trained('lora-ggpo', { sigma: 0.3, beta: 0 }, { ...still, updates: 150 });
    const quiet = await trained('lora', {}, { ...still, updates: 1 });
    return noisy.losses.reduce((t, x) => t + x, 0) / 150 - quiet.losses[0];
  }

  it('through nonlinear layers ends where noise does less harm than after plain LoRA', async () => {
    const at = { updates: 150 };
    const [own, plain] = [await trained('lora-ggpo', { sigma: 0.3 }, at), await trained('lora', {}, at)];
    const [flat, sharp] = [await excess(own.arrays), await excess(plain.arrays)];
    expect(flat).toBeLessThan(0.8 * sharp);
  });

  it.each([{ sigma: 0 }, { mode: 'mgpo', rho: 0 }])('with %o is LoRA’s bit for bit', async (options) => {
    expect(await trained('lora-ggpo', options)).toEqual(await trained('lora', {}));
  });

  it.each([{ sigma: 0.3 }, { mode: 'mgpo', rho: 0.05 }])(
    'with %o is another, and learns',
    async (options) => {
      const [own, plain] = [await trained('lora-ggpo', options), await trained('lora', {})];
      expect(own.losses[4]).not.toBe(plain.losses[4]);
      expect(own.losses[4]).toBeLessThan(own.losses[0]);
    },
  );

  it.each(['ggpo', 'mgpo'])('%s: leaves the bytes of one that was never stopped', async (mode) => {
    const data = writeRows(join(folder, 'texts.jsonl'), tinyTexts(12));
    const at = (name: string) => join(folder, `${mode}-${name}`);
    const recipe = {
      ...{ model, data, adapter: { method: 'lora-ggpo', rank: 4, mode, sigma: 0.2 } },
      ...{ rate: 1e-2, batch: 3, steps: 6, clip: 1 },
    } as const;
    const whole = await runTiny({ ...recipe, output: at('whole') });
    await runTiny({ ...recipe, output: at('broken') }, { stopAfter: 3 });
    const resumed = await runTiny({ ...recipe, output: at('broken') }, { mode: 'resume' });
    expect(contents(resumed.artifact!)).toEqual(contents(whole.artifact!));
  });
});
