import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  asMatrix,
  gap,
  minus,
  normal,
  numbers,
  type Rehearsal,
  rehearse,
  squared,
} from '../../tests/optimizers.ts';
import { type AlloraFactor, rowFactors } from '../adapters/index.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array, evaluate, input, type NDArray, program, zeros } from '../graph/index.ts';
import { multiply } from '../linalg/index.ts';
import { adamw } from './adamw.ts';
import { allora } from './allora.ts';
import type { ParameterInfo } from './optimizer.ts';
import { sgd } from './sgd.ts';

const [M, N, R] = [6, 5, 2];
const layer = { name: 'h.0.q', kind: 'linear', out: M, in: N, block: 0 } as const;
const info = (factor: 'A' | 'B', shape: readonly number[], scale = 1): ParameterInfo => ({
  name: `h.0.q#${factor}`,
  shape,
  role: 'factor',
  factor,
  layer,
  scale,
});
const [infoA, infoB] = [info('A', [R, N]), info('B', [M, R])];

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

type Norm = 'delta-row' | 'b-row' | 'matrix';

function kappa(A: NDArray, B: NDArray, o: Partial<AlloraFactor> & { norm?: Norm } = {}): number[] {
  const options = { cap: 10, power: 0.5, squared: false, norm: 'delta-row' as const, ...o };
  const out = rowFactors(input('A', A.shape), input('B', B.shape), options);
  const p = program({ out });
  const feeds: Record<string, NDArray> = { A, B };
  return numbers(evaluate(p, Object.fromEntries(p.inputs.map(({ name }) => [name, feeds[name]]))).out);
}

const [A, B] = [normal([R, N], 'A'), normal([M, R], 'B')];

/** Row norms of the product, from the product. */
function explicitNorms(a: NDArray, b: NDArray): number[] {
  const at = (i: number, j: number) =>
    Array.from({ length: R }, (_, k) => Number(b.data[i * R + k]) * Number(a.data[k * N + j])).reduce(
      (t, x) => t + x,
    );
  return Array.from({ length: M }, (_, i) => Math.hypot(...Array.from({ length: N }, (_, j) => at(i, j))));
}

const scaledRow = (b: NDArray, row: number, by: number) =>
  array(
    numbers(b).map((x, i) => (Math.floor(i / R) === row ? by * x : x)),
    b.shape,
  );

describe('the factor', () => {
  it('is η_max for every row at the start', () => {
    for (const power of [0.25, 0.5, 1])
      for (const norm of ['delta-row', 'b-row', 'matrix'] as const)
        for (const k of kappa(A, zeros([M, R]), { power, norm })) expect(k).toBeCloseTo(10, 5);
  });

  it('is 1/√(‖D_i‖ + 1/η_max²), its Gram shortcut the explicit norm', () => {
    const expected = explicitNorms(A, B).map((d) => 1 / Math.sqrt(d + 1 / 100));
    expect(gap(kappa(A, B), expected)).toBeLessThan(1e-5);
    const squares = explicitNorms(A, B).map((d) => 1 / Math.sqrt(d * d + 1 / 100));
    expect(gap(kappa(A, B, { squared: true }), squares)).toBeLessThan(1e-5);
    const whole = Math.hypot(...explicitNorms(A, B));
    expect(gap(kappa(A, B, { norm: 'matrix' }), [1 / Math.sqrt(whole + 1 / 100)])).toBeLessThan(1e-5);
  });

  it('falls strictly with a row’s norm within (0, η_max], and leaves other rows alone', () => {
    const before = kappa(A, B);
    let last = 10;
    for (const by of [0.01, 0.1, 1, 10, 1000]) {
      const now = kappa(A, scaledRow(B, 2, by));
      expect(now[2]).toBeLessThan(last);
      expect(now[2]).toBeGreaterThan(0);
      last = now[2];
      for (const i of [0, 1, 3, 4, 5]) expect(now[i]).toBe(before[i]);
    }
  });

  it('is permuted with the outputs', () => {
    const reversed = Array.from({ length: M }, (_, i) =>
      numbers(B).slice((M - 1 - i) * R, (M - i) * R),
    ).flat();
    expect(kappa(A, array(reversed, B.shape))).toEqual(kappa(A, B).reverse());
  });
});

function begin(
  method: typeof allora,
  options: Record<string, unknown>,
  b: NDArray = zeros([M, R]),
): Rehearsal {
  return rehearse(engine, method, options, [
    [infoA, A],
    [infoB, b],
  ]);
}

const gradient = (t: number) =>
  new Map([infoA, infoB].map((p) => [p.name, normal(p.shape, `g/${p.name}`, t)]));
const of = (run: Rehearsal, p: ParameterInfo) => numbers(run.arrays.get(p.name)!);

describe('steps', () => {
  it('of SGD start at η_max times those of LoRA for B', async () => {
    const [own, plain] = [begin(allora, { moments: 'none' }), begin(sgd, { momentum: 0 })];
    await own.step(gradient(1), 0.01, 1);
    await plain.step(gradient(1), 0.01, 1);
    expect(
      gap(
        of(own, infoB),
        of(plain, infoB).map((x) => 10 * x),
      ),
    ).toBeLessThan(1e-6);
  });

  it('with every factor 1 are those of LoRA, bit for bit', async () => {
    // (‖D‖ + 1)^(−p) is 1 where p is next to nothing.
    const [own, plain] = [
      begin(allora, { moments: 'none', cap: 1, power: 1e-12 }, B),
      begin(sgd, { momentum: 0 }, B),
    ];
    for (let t = 1; t <= 4; t++) for (const run of [own, plain]) await run.step(gradient(t), 0.1, t);
    for (const p of [infoA, infoB]) expect(of(own, p)).toEqual(of(plain, p));
  });

  it('of Adam are scaled too, where a scaled gradient would not be seen', async () => {
    const step = async (cap: number) => {
      const run = begin(allora, { cap, epsilon: 1e-20 });
      await run.step(gradient(1), 0.001, 1);
      return of(run, infoB);
    };
    const one = await step(1);
    expect(
      gap(
        await step(7),
        one.map((x) => 7 * x),
      ),
    ).toBeLessThan(1e-6);
    // The first step of Adam is the sign.
    expect(one.map(Math.abs)).toEqual(one.map(() => expect.closeTo(0.001, 6)));
  });

  it('of plain Adam do not see factors that stay: of scaled gradients nothing would be left', async () => {
    const trained = async (factors: readonly number[]) => {
      const run = begin(adamw, { epsilon: 1e-30 }, B);
      for (let t = 1; t <= 5; t++) {
        const g = gradient(t).get(infoB.name)!;
        const scaled = numbers(g).map((v, i) => factors[Math.floor(i / R)] * v);
        const none = zeros(infoA.shape);
        await run.step(
          new Map([
            [infoA.name, none],
            [infoB.name, array(scaled, g.shape)],
          ]),
          0.01,
          t,
        );
      }
      return of(run, infoB);
    };
    const plain = await trained([1, 1, 1, 1, 1, 1]);
    expect(gap(await trained([8, 8, 8, 8, 8, 8]), plain)).toBe(0);
    expect(gap(await trained([10, 7, 5, 3, 2, 1]), plain)).toBeLessThan(1e-6);
  });

  it('take the mean of the factors for A', async () => {
    const [own, plain] = [begin(allora, { moments: 'none' }, B), begin(sgd, { momentum: 0 }, B)];
    for (const run of [own, plain]) await run.step(gradient(1), 0.01, 1);
    const mean = kappa(A, B).reduce((t, k) => t + k) / M;
    const start = numbers(A);
    const expected = of(plain, infoA).map((x, i) => start[i] + mean * (x - start[i]));
    expect(gap(of(own, infoA), expected)).toBeLessThan(1e-6);
  });

  it('decay at the base rate', async () => {
    const run = begin(allora, { weightDecay: 0.5 }, B);
    const none = new Map([infoA, infoB].map((p) => [p.name, zeros(p.shape)]));
    await run.step(none, 0.1, 1);
    expect(
      gap(
        of(run, infoB),
        numbers(B).map((x) => 0.95 * x),
      ),
    ).toBeLessThan(1e-6);
  });

  it('leave zero sooner than LoRA, by about η_max at first, then ever less', async () => {
    const levels = [0.001, 0.05];
    const own = await stepsTo(begin(allora, { moments: 'none' }), levels);
    const plain = await stepsTo(begin(sgd, { momentum: 0 }), levels);
    const ratios = plain.map((t, i) => t / own[i]);
    expect(ratios[0]).toBeGreaterThan(8);
    expect(ratios[0]).toBeLessThan(10.5);
    expect(ratios[1]).toBeGreaterThan(1);
    expect(ratios[1]).toBeLessThan(0.9 * ratios[0]);
  });
});

/** Steps of gradient descent on ½‖B A − goal‖² until ‖B A‖ reaches each level. */
async function stepsTo(run: Rehearsal, levels: readonly number[]): Promise<number[]> {
  const goal = asMatrix(normal([M, N], 'goal', 0, 10));
  const reached: number[] = [];
  for (let t = 1; reached.length < levels.length; t++) {
    const [a, b] = [infoA, infoB].map((p) => asMatrix(run.arrays.get(p.name)!));
    const D = multiply(b, a);
    while (reached.length < levels.length && Math.sqrt(squared(D)) >= levels[reached.length])
      reached.push(t - 1);
    const G = minus(D, goal);
    const gradients = new Map([
      [infoA.name, array(multiply(b, G, { transposeA: true }).data, infoA.shape)],
      [infoB.name, array(multiply(G, a, { transposeB: true }).data, infoB.shape)],
    ]);
    await run.step(gradients, 5e-8, t);
  }
  return reached;
}

it('is refused where the change has a scale, with the remedy', () => {
  const rules = (s: number) => () =>
    allora.rules([info('A', [R, N], s), info('B', [M, R], s)], allora.options.parse({}), 0);
  expect(rules(2)).toThrow(
    expect.objectContaining({ code: 'optimizers/scale', remedy: expect.stringContaining('alpha 2') }),
  );
  expect(rules(1)).not.toThrow();
});
