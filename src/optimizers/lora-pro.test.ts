import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asMatrix, gap, minus, normal, numbers, rehearse, squared, turned } from '../../tests/optimizers.ts';
import { tinyBatch, tinyModel, tinySetup, tinyUpdater } from '../../tests/training/tiny.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array, evaluate, input, type NDArray, program, zeros } from '../graph/index.ts';
import { type Matrix, matrix, multiply, qr, solve, svd } from '../linalg/index.ts';
import { batchShape } from '../training/batch-feeds.ts';
import { loraPlus } from './lora-plus.ts';
import { loraPro } from './lora-pro.ts';
import {
  conditionNumber,
  equivalent,
  gramState,
  gramsOf,
  measureGrams,
  nearest,
  nearestToOwn,
} from './lora-pro-adjust.ts';
import { type ParameterInfo, stateBytes } from './optimizer.ts';
import { sgd } from './sgd.ts';

const [M, N, R] = [9, 7, 3];

type Dense = Matrix<Float64Array>;

const draw = (rows: number, columns: number, name: string) => asMatrix(normal([rows, columns], name));
const times = (a: Matrix, s: number): Dense =>
  matrix(
    a.rows,
    a.cols,
    Float64Array.from(a.data, (x) => s * x),
  );
const plus = (a: Matrix, b: Matrix): Dense => minus(a, times(b, -1));
const size = (a: Matrix) => Math.sqrt(squared(a));
const inner = (a: Matrix, b: Matrix) =>
  Array.from(a.data, (x, i) => x * b.data[i]).reduce((t, x) => t + x, 0);
const product = (a: Matrix, b: Matrix) => multiply(a as Dense, b as Dense);
const wide = (a: Matrix): NDArray => ({
  dtype: 'float32',
  shape: [a.rows, a.cols],
  data: Float64Array.from(a.data),
});

/** What LoRA-Pro makes of the factors' gradients, in float64: h with X = 0, h nearest to them, and what each reaches. */
function adjust(A: Matrix, B: Matrix, g: { A: Matrix; B: Matrix }, s: number, ridge = 0) {
  const r = A.rows;
  const specs = Object.entries(gramState(r));
  const state = Object.fromEntries(
    specs.map(([k, { shape }]) => [
      k,
      { ...zeros(shape), data: new Float64Array(shape.reduce((a, b) => a * b)) },
    ]),
  );
  measureGrams({ parameters: [wide(A), wide(B)], state });
  const symbols = Object.fromEntries(specs.map(([k, { shape }]) => [k, input(k, shape)]));
  const of = (name: string, a: Matrix) => input(name, [a.rows, a.cols]);
  const f = { A: of('A', A), B: of('B', B), scale: s, ridge, ...gramsOf(symbols) };
  const h = nearest(f, { A: of('gA', A), B: of('gB', B) });
  const own = nearestToOwn(f, h);
  const outputs = {
    hA: h.A,
    hB: h.B,
    ownA: own.A,
    ownB: own.B,
    reached: equivalent(f, h),
    ownReached: equivalent(f, own),
  };
  const feeds = { A: wide(A), B: wide(B), gA: wide(g.A), gB: wide(g.B), ...state };
  const out = evaluate(program(outputs), feeds);
  return Object.fromEntries(Object.keys(outputs).map((k) => [k, asMatrix(out[k])])) as Record<
    keyof typeof outputs,
    Dense
  >;
}

/** The factors' gradients of G. */
const loraGradients = (A: Matrix, B: Matrix, G: Matrix, s: number) => ({
  A: times(product(turned(B), G), s),
  B: times(product(G, turned(A)), s),
});

/** Orthogonal projector on the columns. */
function projector(a: Matrix): Dense {
  const { q } = qr(a as Dense);
  return product(q, turned(q));
}

const [A, B, G] = [draw(R, N, 'A'), draw(M, R, 'B'), draw(M, N, 'G')];
const S = 2;
const g = loraGradients(A, B, G, S);

describe('the adjusted gradients', () => {
  const result = adjust(A, B, g, S);
  const [onB, onA] = [projector(B), projector(turned(A))];

  it('reach P_B G + (I − P_B) G P_A, whatever X is', () => {
    const rest = minus(G, product(onB, G));
    const expected = plus(product(onB, G), product(rest, onA));
    expect(gap(result.reached.data, expected.data)).toBeLessThan(1e-5);
    expect(gap(result.ownReached.data, expected.data)).toBeLessThan(1e-5);
  });

  it('reach the least-squares optimum over all steps of A and B', () => {
    // Columns: what each number of h_A and h_B changes g̃ by. A little ridge picks one of the many solutions.
    const count = R * (M + N);
    const columns = Array.from({ length: count }, (_, i) => {
      const hA = matrix(
        R,
        N,
        Float64Array.from({ length: R * N }, (_, k) => Number(k === i)),
      );
      const hB = matrix(
        M,
        R,
        Float64Array.from({ length: M * R }, (_, k) => Number(k === i - R * N)),
      );
      return times(plus(product(B, hA), product(hB, A)), S).data;
    });
    const J = turned(matrix(count, M * N, Float64Array.from(columns.flatMap((c) => [...c]))));
    const normalEquations = product(turned(J), J);
    for (let i = 0; i < count; i++) normalEquations.data[i * count + i] += 1e-9;
    const right = product(turned(J), matrix(M * N, 1, Float64Array.from(G.data)));
    const best = product(J, solve(normalEquations, right));
    expect(gap(result.reached.data, best.data)).toBeLessThan(1e-5);
  });

  it('come nearer to G than any multiple of what plain LoRA changes', () => {
    const plain = times(plus(product(product(B, turned(B)), G), product(product(G, turned(A)), A)), S ** 2);
    const c = inner(plain, G) / squared(plain);
    expect(size(minus(G, result.reached))).toBeLessThan(size(minus(G, times(plain, c))));
  });

  it('solve the Sylvester equation, and stay nearest to the own gradients of all that reach the same', () => {
    // X from h_A + X A: A has full row rank.
    const AAt = product(A, turned(A));
    const XA = minus(result.ownA, result.hA);
    const X = turned(solve(AAt, turned(product(XA, turned(A)))) as Dense);
    const left = plus(product(product(turned(B), B), X), product(X, AAt));
    const residual = plus(left, product(result.hA, turned(A)));
    expect(gap(residual.data, new Float64Array(R * R))).toBeLessThan(1e-5);
    const distance = (x: Matrix) =>
      squared(minus(plus(result.hA, product(x, A)), g.A)) +
      squared(minus(minus(result.hB, product(B, x)), g.B));
    for (const seed of ['x', 'y', 'z'])
      for (const step of [0.01, -0.01])
        expect(distance(plus(X, times(draw(R, R, seed), step)))).toBeGreaterThan(distance(X));
  });

  it('never point uphill', () => {
    for (let i = 0; i < 20; i++) {
      const [a, b] = [draw(R, N, `a${i}`), draw(M, R, `b${i}`)];
      const gradient = loraGradients(a, b, draw(M, N, `g${i}`), S);
      const { ownA, ownB } = adjust(a, b, gradient, S);
      expect(inner(gradient.A, ownA) + inner(gradient.B, ownB)).toBeGreaterThanOrEqual(0);
    }
  });

  it('reach G itself where a factor is square', () => {
    const square = draw(N, N, 'square');
    const tall = draw(M, N, 'tall');
    const { reached } = adjust(square, tall, loraGradients(square, tall, G, S), S);
    expect(gap(reached.data, G.data)).toBeLessThan(1e-5);
  });

  it('do not see how the product is split, nor how it is scaled; plain LoRA does', () => {
    const T = draw(R, R, 'T');
    const [turnedB, turnedA] = [product(B, T), solve(T, A) as Dense];
    const split = adjust(turnedA, turnedB, loraGradients(turnedA, turnedB, G, S), S);
    expect(gap(split.reached.data, result.reached.data)).toBeLessThan(1e-5);
    const half = times(B, 0.5);
    const scaled = adjust(A, half, loraGradients(A, half, G, 2 * S), 2 * S);
    expect(gap(scaled.reached.data, result.reached.data)).toBeLessThan(1e-5);
    const plain = (a: Matrix, b: Matrix) =>
      plus(product(product(b, turned(b)), G), product(product(G, turned(a)), a));
    expect(gap(plain(A, B).data, plain(turnedA, turnedB).data)).toBeGreaterThan(1);
  });

  it('keep a tiny B and a ridge within reach of each other: the ridge is a share of the eigenvalues', () => {
    const small = times(B, 1e-6);
    const { reached } = adjust(A, small, loraGradients(A, small, G, S), S, 1e-8);
    expect(gap(reached.data, result.reached.data)).toBeLessThan(1e-5);
  });
});

const layer = { name: 'h.0.q', kind: 'linear', out: M, in: N, block: 0 } as const;
const info = (factor: 'A' | 'B', shape: readonly number[], scale = S): ParameterInfo => ({
  name: `h.0.q#${factor}`,
  shape,
  role: 'factor',
  factor,
  layer,
  scale,
});
const infos = (s = S, r = R, [m, n] = [M, N]) => [info('A', [r, n], s), info('B', [m, r], s)];

describe('runs', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine({ threads: 1 });
  });
  afterAll(() => engine.dispose());

  /** Walks `steps` with the gradient that `of` says for s B A; returns the products on the way. */
  async function walk(
    method: typeof loraPro,
    options: Record<string, unknown>,
    start: { A: Matrix; B: Matrix; scale?: number },
    { steps, rate, of }: { steps: number; rate: number; of: (change: Dense) => Matrix },
  ) {
    const s = start.scale ?? S;
    const [a, b] = infos(s, start.A.rows, [start.B.rows, start.A.cols]);
    const run = rehearse(engine, method, options, [
      [a, array(start.A.data, a.shape)],
      [b, array(start.B.data, b.shape)],
    ]);
    const change = () => {
      const [x, y] = [a, b].map((p) => asMatrix(run.arrays.get(p.name)!));
      return { x, y, W: times(product(y, x), s) };
    };
    const seen = [change().W];
    for (let t = 1; t <= steps; t++) {
      const { x, y, W } = change();
      const gradient = loraGradients(x, y, of(W), s);
      const arrays = new Map([
        [a.name, array(gradient.A.data, a.shape)],
        [b.name, array(gradient.B.data, b.shape)],
      ]);
      await run.step(arrays, rate, t);
      seen.push(change().W);
    }
    return seen;
  }

  it('step from B = 0 by −η G P_A, whatever s and the size of A', async () => {
    const expected = times(product(G, projector(turned(A))), -0.1);
    for (const [scale, by] of [
      [1, 1],
      [4, 1],
      [1, 20],
    ]) {
      const start = { A: times(A, by), B: times(B, 0), scale };
      const [, W] = await walk(loraPro, { moments: 'none' }, start, { steps: 1, rate: 0.1, of: () => G });
      expect(gap(W.data, expected.data)).toBeLessThan(1e-5);
    }
  });

  it('with a square factor make the step of full fine-tuning, to second order in the rate', async () => {
    const start = { A: draw(N, N, 'square'), B: draw(M, N, 'tall') };
    const error = async (rate: number) => {
      const [before, W] = await walk(loraPro, { moments: 'none' }, start, { steps: 1, rate, of: () => G });
      return gap(minus(W, before).data, times(G, -rate).data);
    };
    const [large, small] = [await error(0.2), await error(0.02)];
    expect(large / small).toBeGreaterThan(50);
    expect(large / small).toBeLessThan(200);
  });

  it('follow full SGD on a regression of low rank, where LoRA lags', async () => {
    const inputs = draw(40, N, 'inputs');
    const covariance = times(product(turned(inputs), inputs), 1 / 40);
    const goal = times(product(draw(M, R, 'goalB'), draw(R, N, 'goalA')), 0.05);
    const loss = (W: Matrix) => inner(product(minus(W, goal), covariance), minus(W, goal)) / 2;
    const of = (W: Matrix) => product(minus(W, goal), covariance);
    // As LoRA starts: A of Kaiming's spread, B zero.
    const start = { A: times(A, 1 / Math.sqrt(3 * N)), B: times(B, 0), scale: 1 };
    const [steps, rate] = [60, 0.2];
    const pro = (await walk(loraPro, { moments: 'none' }, start, { steps, rate, of })).map(loss);
    const plain = (await walk(sgd, { momentum: 0 }, start, { steps, rate, of })).map(loss);
    let W = times(goal, 0);
    const full = Array.from({ length: steps + 1 }, () => {
      const now = loss(W);
      W = minus(W, times(of(W), rate));
      return now;
    });
    const mean = (xs: number[]) => xs.reduce((t, x) => t + x) / xs.length;
    expect(mean(pro) / mean(full)).toBeLessThan(1.3);
    expect(mean(plain) / mean(full)).toBeGreaterThan(2);
  });

  it('hold the moments of the whole matrix, or of the factors, beside the spectra', () => {
    const spectra = 2 * R * (R + 1);
    const bytes = (moments: string) =>
      stateBytes(loraPro.rules(infos(), loraPro.options.parse({ moments }), 0));
    expect(bytes('full')).toBe(4 * (2 * M * N + spectra));
    expect(bytes('light')).toBe(4 * (2 * R * (M + N) + spectra));
    expect(bytes('none')).toBe(4 * spectra);
  });

  it('move everything that is no factor by AdamW', async () => {
    const bias: ParameterInfo = { name: 'h.0.q.bias', shape: [M], role: 'bias' };
    const values = (p: ParameterInfo) => [p, normal(p.shape, p.name)] as const;
    const moved = async (method: typeof loraPro) => {
      const run = rehearse(engine, method, {}, [...infos().map(values), values(bias)]);
      for (let t = 1; t <= 3; t++)
        await run.step(new Map(run.parameters.map((p) => [p.name, normal(p.shape, 'g', t)])), 0.1, t);
      return numbers(run.arrays.get(bias.name)!);
    };
    expect(gap(await moved(loraPro), await moved(loraPlus))).toBeLessThan(1e-6);
  });
});

describe('the condition of what is inverted', () => {
  it('is the largest eigenvalue over the smallest, both with their ridge; a factor of zeros has none', () => {
    const values = array([1, 4, 7], [3]);
    expect(conditionNumber(values, 0)).toBeCloseTo(7, 6);
    expect(conditionNumber(values, 0.5)).toBeCloseTo((7 + 2) / (1 + 2), 6);
    expect(conditionNumber(array([0, 2], [2]), 0)).toBe(Number.POSITIVE_INFINITY);
    expect(conditionNumber(array([0, 2], [2]), 1e-3)).toBeCloseTo(2001, 6);
    expect(conditionNumber(zeros([2]), 1e-8)).toBeUndefined();
  });

  it.each(['whole', 'blockwise'] as const)(
    '%s: is logged of both factors of every layer',
    async (execution) => {
      const setup = await tinySetup(tinyModel('llama'), { method: 'lora', options: { rank: 3 } });
      const batch = tinyBatch(2, 12);
      const kind = { labelled: false, causal: true, packed: false, pairs: false };
      const { update } = tinyUpdater(setup, {
        execution,
        batches: [batch],
        shape: batchShape(batch.shape, kind),
        optimizer: 'lora-pro',
      });
      const expected: Record<string, number> = {};
      for (const { spec, trainable } of setup.adaptation!.layers)
        for (const factor of ['A', 'B']) {
          const { s } = svd(asMatrix(trainable[factor]));
          expected[`lora-pro/condition/${factor}/${spec.name}`] = (s[0] / s[2]) ** 2;
        }
      const { extra } = await update();
      await setup.engine.dispose();
      expect(Object.keys(extra).toSorted()).toEqual(Object.keys(expected).toSorted());
      for (const [name, value] of Object.entries(expected)) expect(extra[name] / value).toBeCloseTo(1, 3);
    },
  );
});

it('is refused where no layer has factors, with the remedy', () => {
  const rules = (p: ParameterInfo) => () => loraPro.rules([p], loraPro.options.parse({}), 0);
  const { scale: _, ...core } = info('A', [R, N]);
  for (const parameter of [{ name: 'w', shape: [M, N], role: 'matrix' } as const, core])
    expect(rules(parameter)).toThrow(
      expect.objectContaining({ code: 'optimizers/no-factors', remedy: expect.stringContaining('lora') }),
    );
});
