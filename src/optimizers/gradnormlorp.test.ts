import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blockMatrix, gap, normal, numbers, type Rehearsal, rehearse } from '../../tests/optimizers.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array, evaluate, input, type NDArray, program, type Tensor } from '../graph/index.ts';
import { galore } from './galore.ts';
import { gradNormLorp, gradNormLorpOptions } from './gradnormlorp.ts';
import { type ParameterInfo, stateBytes } from './optimizer.ts';
import { byRate, chain, pieceRule } from './pieces.ts';
import { projection, projectionOptions } from './projection.ts';
import { inSubspace, liftBack } from './subspace.ts';
import { joined, splitGradient, splitWeight, tangentGradient } from './weight-norm.ts';

const [M, N] = [6, 4];

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

const wide = (a: NDArray): NDArray => ({ ...a, data: Float64Array.from(numbers(a)) });

/** Runs a traced calculation in float64. */
function calculate(
  feeds: Record<string, NDArray>,
  trace: (t: Record<string, Tensor>) => Record<string, Tensor>,
): Record<string, NDArray> {
  const p = program(trace(Object.fromEntries(Object.entries(feeds).map(([k, a]) => [k, input(k, a.shape)]))));
  return evaluate(p, Object.fromEntries(p.inputs.map(({ name }) => [name, wide(feeds[name])])));
}

const rows = (a: NDArray | readonly number[]) => {
  const values = Array.isArray(a) ? (a as number[]) : numbers(a as NDArray);
  return Array.from({ length: M }, (_, i) => values.slice(i * N, i * N + N));
};
const dot = (x: readonly number[], y: readonly number[]) => x.reduce((t, v, i) => t + v * y[i], 0);

const [W, G] = [normal([M, N], 'W'), normal([M, N], 'G')];
const ratio = array([1, 2, -0.5, 3, 1, -1], [M, 1]);

describe('the split into magnitude and direction', () => {
  const split = calculate({ W, ratio, G }, (t) => {
    const parts = splitWeight(t.W, t.ratio, 1);
    const d = splitGradient(parts, t.G, 1);
    const again = joined(parts.V, parts.magnitude, 1);
    return { V: parts.V, g: parts.magnitude, dV: d.V, dg: d.magnitude, W2: again.W, ratio2: again.ratio };
  });

  it('gives W back, with rows of length |g|', () => {
    expect(gap(numbers(split.W2), numbers(W))).toBeLessThan(1e-9);
    expect(gap(numbers(split.ratio2), numbers(ratio))).toBeLessThan(1e-9);
    rows(W).forEach((w, i) => {
      expect(Math.abs(Number(split.g.data[i]))).toBeCloseTo(Math.hypot(...w), 9);
    });
  });

  it('does not see how long V is', () => {
    const lengths = array([2, 0.1, 5, 1, 7, 30], [M, 1]);
    const of = (scaled: boolean) =>
      calculate({ V: W, g: normal([M, 1], 'g'), by: lengths }, (t) => {
        const V = scaled ? splitWeight(t.V, t.by, 1).V : t.V;
        return { W: joined(V, t.g, 1).W };
      }).W;
    expect(gap(numbers(of(true)), numbers(of(false)))).toBeLessThan(1e-9);
  });

  it('has gradients of V at right angles to its rows', () => {
    const [V, dV] = [rows(split.V), rows(split.dV)];
    V.forEach((v, i) => {
      expect(Math.abs(dot(v, dV[i]))).toBeLessThan(1e-5 * Math.hypot(...v) * Math.hypot(...dV[i]));
    });
  });

  it('has the gradients of finite differences', () => {
    const loss = (V: NDArray, g: NDArray) => {
      const out = calculate({ V, g }, (t) => ({ W: joined(t.V, t.g, 1).W })).W;
      return dot(numbers(out), numbers(G));
    };
    const [V, g] = [wide(split.V), wide(split.g)];
    for (const [name, at, derived] of [
      ['V', V, split.dV],
      ['g', g, split.dg],
    ] as const)
      for (let i = 0; i < at.data.length; i++) {
        const kept = Number(at.data[i]);
        at.data[i] = kept + 1e-6;
        const up = loss(V, g);
        at.data[i] = kept - 1e-6;
        const slope = (up - loss(V, g)) / 2e-6;
        at.data[i] = kept;
        expect(Number(derived.data[i]), `${name}[${i}]`).toBeCloseTo(slope, 6);
      }
  });

  it('is the same on the host, however the weight is stored', () => {
    expect(gap(numbers(tangentGradient(W, ratio, G, 1)), numbers(split.dV))).toBeLessThan(1e-5);
    const turn = (a: NDArray) =>
      array(
        Array.from({ length: M * N }, (_, k) => numbers(a)[(k % M) * N + Math.floor(k / M)]),
        [N, M],
      );
    const stored = tangentGradient(turn(W), array(numbers(ratio), [1, M]), turn(G), 0);
    expect(gap(numbers(stored), numbers(turn(split.dV)))).toBeLessThan(1e-5);
  });

  it('leaves rows of zeros, and lets g cross zero', () => {
    const zeroed = array(
      numbers(W).map((x, i) => (i < N ? 0 : x)),
      [M, N],
    );
    const { V, dV } = calculate({ W: zeroed, ratio, G }, (t) => {
      const parts = splitWeight(t.W, t.ratio, 1);
      return { V: parts.V, dV: splitGradient(parts, t.G, 1).V };
    });
    for (const a of [V, dV, tangentGradient(zeroed, ratio, G, 1)])
      expect(rows(a)[0].map(Math.abs)).toEqual([0, 0, 0, 0]);
    const none = calculate(
      { W, g: array([0, 1, -1, 1, 1, 1], [M, 1]) },
      (t) => joined(t.W, t.g, 1) as unknown as Record<string, Tensor>,
    );
    for (const x of [...numbers(none.W), ...numbers(none.ratio)]) expect(Number.isFinite(x)).toBe(true);
  });
});

const info = blockMatrix('w', M, N);
const begin = (options: Record<string, unknown>, start = W) =>
  rehearse(engine, gradNormLorp, options, [[info, start]]);
const weight = (run: Rehearsal) => numbers(run.arrays.get(info.name)!);
const state = (run: Rehearsal, name: string) => numbers(run.updates.state.get(`${info.name}/${name}`)!);
const directions = (run: Rehearsal) =>
  rows(weight(run)).flatMap((row, i) => row.map((x) => x * state(run, 'ratio')[i]));

async function walk(run: Rehearsal, steps: number, rate = 0.05): Promise<void> {
  for (let t = 1; t <= steps; t++) await run.step(new Map([[info.name, normal([M, N], 'g', t)]]), rate, t);
}

describe('on whole matrices', () => {
  it('as released forgets the magnitudes: the directions go as GaLore would take the weights', async () => {
    const run = begin({ rank: 2, gap: 3, mode: 'reference' });
    const plain = rehearse(engine, galore, { rank: 2, gap: 3 }, [[info, W]]);
    for (const r of [run, plain]) await walk(r, 6);
    expect(gap(directions(run), weight(plain))).toBeLessThan(2e-5);
  });

  it('corrected keeps them: a magnitude that learned stays learned', async () => {
    const norms = async (mode: string) => {
      const run = begin({ rank: 2, mode });
      await walk(run, 1);
      const none = new Map([[info.name, normal([M, N], 'none', 0, 0)]]);
      const before = weight(run);
      // The moments still move, but not by much more than the step before.
      for (let t = 2; t <= 3; t++) await run.step(none, 1e-7, t);
      return Math.max(...weight(run).map((x, i) => Math.abs(x - before[i])));
    };
    expect(await norms('corrected')).toBeLessThan(1e-5);
    expect(await norms('reference')).toBeGreaterThan(1e-3);
  });

  it('with all directions and small steps, the rows of V never shorten', async () => {
    const run = begin({ rank: N, weightDecay: 0, beta1: 0, beta2: 0, epsilon: 1e6, magnitudeRate: 0 });
    let lengths = rows(W).map((r) => Math.hypot(...r));
    // ε above everything makes Adam a plain gradient step, at a rate of 1e6.
    for (let t = 1; t <= 10; t++) {
      await run.step(new Map([[info.name, normal([M, N], 'g', t)]]), 1e5, t);
      const now = rows(directions(run)).map((r) => Math.hypot(...r));
      now.forEach((x, i) => {
        expect(x).toBeGreaterThan(lengths[i] * (1 - 1e-6));
      });
      lengths = now;
    }
    const start = rows(W).map((r) => Math.hypot(...r));
    expect(Math.max(...lengths.map((x, i) => x / start[i]))).toBeGreaterThan(1.01);
    rows(weight(run)).forEach((r, i) => {
      expect(Math.hypot(...r)).toBeCloseTo(start[i], 4);
    });
  });

  it('finds a teacher that only stretches rows by the magnitudes', async () => {
    const stretch = [1.5, 0.7, 1.2, 0.9, 1.1, 1.3];
    const goal = rows(W).flatMap((r, i) => r.map((x) => stretch[i] * x));
    const run = begin({ rank: 1 });
    for (let t = 1; t <= 400; t++) {
      const gradient = array(
        weight(run).map((x, i) => x - goal[i]),
        [M, N],
      );
      await run.step(new Map([[info.name, gradient]]), 0.02 * (1 - t / 401), t);
    }
    expect(gap(weight(run), goal)).toBeLessThan(1e-2);
    const cosines = rows(weight(run)).map(
      (r, i) => dot(r, rows(W)[i]) / Math.hypot(...r) / Math.hypot(...rows(W)[i]),
    );
    for (const c of cosines) expect(c).toBeGreaterThan(0.9999);
  });
});

describe('its state', () => {
  const bytes = (p: ParameterInfo[], o: Record<string, unknown>) =>
    stateBytes(gradNormLorp.rules(p, gradNormLorpOptions.parse(o), 0));
  const magnitude: ParameterInfo = { name: 'q#magnitude', shape: [640], role: 'factor', factor: 'magnitude' };

  it('of a matrix: GaLore’s, moments of the magnitudes and V’s lengths', () => {
    expect(bytes([info], { rank: 2 })).toBe(4 * (2 * M * 2 + N * 2 + 3 * M));
  });

  it('of DoRA’s factors: 2 r (m + n) and the bases, at half their rank unless told otherwise', () => {
    const [m, n, k] = [640, 512, 8];
    const A: ParameterInfo = { name: 'q#A', shape: [k, n], role: 'factor', factor: 'A' };
    const B: ParameterInfo = { name: 'q#B', shape: [m, k], role: 'factor', factor: 'B' };
    const of = (r: number) => 4 * (2 * r * (m + n) + 2 * k * r + 2 * m);
    expect(bytes([A, B, magnitude], {})).toBe(of(4));
    expect(bytes([A, B, magnitude], { rank: 2 })).toBe(of(2));
  });

  it('in 8 bits is about a quarter of the moments; small tensors stay in 32', () => {
    const big = blockMatrix('big', 640, 512);
    const [m, n, r] = [640, 512, 128];
    const blocks = Math.ceil((m * r) / 256);
    expect(bytes([big], { bits: 8 })).toBe(2 * 256 * blocks + 2 * 4 * blocks + 4 * (n * r + 3 * m));
    expect(bytes([info], { rank: 2, bits: 8 })).toBe(bytes([info], { rank: 2 }));
  });
});

it('says where a rank saves nothing and where 8 bits are not taken', () => {
  const A: ParameterInfo = { name: 'q#A', shape: [4, 64], role: 'factor', factor: 'A' };
  const said = (o: Record<string, unknown>) => gradNormLorp.notices!([A], gradNormLorpOptions.parse(o));
  expect(said({})).toEqual([]);
  expect(said({ rank: 4 })).toEqual([expect.stringContaining('saves nothing (q#A)')]);
  expect(said({ bits: 8 })).toEqual([expect.stringContaining('keep 32 bits: 1 of 1 tensors (q#A)')]);
});

it('in 8 bits takes nearly the steps of 32', async () => {
  const big = blockMatrix('big', 96, 64);
  const start = normal(big.shape, 'big');
  const run = (bits: number) => rehearse(engine, gradNormLorp, { rank: 64, bits }, [[big, start]]);
  const [narrow, full] = [run(8), run(32)];
  for (let t = 1; t <= 5; t++)
    for (const r of [narrow, full]) await r.step(new Map([[big.name, normal(big.shape, 'g', t)]]), 0.01, t);
  const moved = (r: Rehearsal) => numbers(r.arrays.get(big.name)!).map((x, i) => x - Number(start.data[i]));
  const [a, b] = [moved(narrow), moved(full)];
  expect(dot(a, b) / Math.hypot(...a) / Math.hypot(...b)).toBeGreaterThan(0.95);
  expect(gap(a, b)).toBeGreaterThan(0);
});

it('projects a factor at its whole rank, with SGD, to plain SGD', async () => {
  const A: ParameterInfo = { name: 'q#A', shape: [2, 5], role: 'factor', factor: 'A' };
  const own = projectionOptions.parse({ rank: 2 });
  const space = projection('gradnormlorp', A, own);
  const method = {
    ...gradNormLorp,
    rules: ([p]: readonly ParameterInfo[]) => [
      pieceRule(p, chain(inSubspace(space, chain(), liftBack(space, own.scale)), byRate())),
    ],
  };
  const start = normal(A.shape, 'A');
  const run = rehearse(engine, method, {}, [[A, start]]);
  const g = normal(A.shape, 'gA');
  await run.step(new Map([[A.name, g]]), 0.1, 1);
  const expected = numbers(start).map((x, i) => x - 0.1 * Number(g.data[i]));
  expect(gap(numbers(run.arrays.get(A.name)!), expected)).toBeLessThan(1e-6);
});

describe('is refused', () => {
  const rules =
    (p: ParameterInfo, o: Record<string, unknown> = {}) =>
    () =>
      gradNormLorp.rules([p], gradNormLorpOptions.parse(o), 0);

  it('where nothing is split into magnitude and direction', () => {
    const A: ParameterInfo = { name: 'q#A', shape: [2, 5], role: 'factor', factor: 'A', scale: 1 };
    expect(rules(A)).toThrow(
      expect.objectContaining({ code: 'optimizers/no-magnitudes', remedy: expect.stringContaining('dora') }),
    );
  });

  it('with a rank above the smaller side', () => {
    expect(rules(info, { rank: N + 1 })).toThrow(expect.objectContaining({ code: 'optimizers/rank' }));
  });

  it.each([1, undefined])('on factors of several ranks only where the rank is given: %s', (rank) => {
    const factors = [8, 1].map((k): ParameterInfo => ({ name: `q${k}#A`, shape: [k, 9], role: 'factor' }));
    const magnitude: ParameterInfo = { name: 'q#m', shape: [9], role: 'factor', factor: 'magnitude' };
    const both = (own: object) => () =>
      gradNormLorp.rules([...factors, magnitude], gradNormLorpOptions.parse(own), 0);
    expect(both({ rank })).not.toThrow();
    expect(both({ rank: 2 })).toThrow(/q1#A of shape \[1,9\] to rank 2/);
  });
});
