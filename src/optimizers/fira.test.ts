import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asMatrix, gap, minus, normal, numbers, rehearse, squared } from '../../tests/optimizers.ts';
import { drawnSteps, recorded, recordedRun, startOf, tall, wide } from '../../tests/optimizers-projected.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array, evaluate, input, type NDArray, program } from '../graph/index.ts';
import { multiply, random, svd } from '../linalg/index.ts';
import { type FiraOptions, fira, firaOptions, withResidual } from './fira.ts';
import { galore } from './galore.ts';
import { type ParameterInfo, stateBytes } from './optimizer.ts';
import { limitGrowth, type Piece } from './pieces.ts';

/** As in the script: the step without gradients is left out. */
const EMPTY_STEP = 4;

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

const draw = (info: ParameterInfo, t: number, scale = 1) => normal(info.shape, `g/${info.name}`, t, scale);

/** A piece's direction and state by reference arithmetic, step after step. */
function trace(piece: Piece, info: ParameterInfo) {
  const specs = Object.entries(piece.state(info));
  let state = Object.fromEntries(specs.map(([k, { shape }]) => [k, normal(shape, k, 0, 0)]));
  return (gradient: NDArray, step: number) => {
    piece.prepare?.({
      step,
      parameters: [],
      gradients: [gradient],
      state,
      random: (purpose) => random(1, purpose),
      report: () => {},
    });
    const symbols = Object.fromEntries(specs.map(([k, { shape }]) => [k, input(k, shape)]));
    const scalar = input('unused', []);
    const context = { parameter: input('p', info.shape), rate: scalar, step: scalar };
    const result = piece.apply(input('gradient', info.shape), symbols, context);
    const out = evaluate(program({ ...result.state, direction: result.direction }), { ...state, gradient });
    state = { ...state, ...Object.fromEntries(Object.keys(result.state).map((k) => [k, out[k]])) };
    return { direction: asMatrix(out.direction), state };
  };
}

const options = (o: Partial<FiraOptions>) => firaOptions.parse({ rank: 2, ...o });
const directions = (info: ParameterInfo, o: Partial<FiraOptions>) =>
  trace(withResidual(info, options(o)), info);

describe('19 steps as the fira package', () => {
  it.each(recorded.fira)('$options', async ({ options: o, weights }) => {
    for (const [name, own] of await recordedRun(engine, fira, o, EMPTY_STEP))
      expect(gap(own, weights[name]), name).toBeLessThan(1e-4);
  });
});

describe('the residual', () => {
  const G = draw(tall, 1);
  /** Direction of the first step: α P N + φ E; P N by a run without E, that is at α very large or by GaLore. */
  const q = svd(asMatrix(G)).vt;
  const inside = { ...q, rows: 2, data: q.data.slice(0, 8) };
  const R = multiply(asMatrix(G), inside, { transposeB: true });
  const epsilon = 1e-6;
  const N = { ...R, data: R.data.map((r) => (0.1 * r) / (Math.sqrt(0.001 * r * r) + epsilon)) };
  const factors = Array.from({ length: 6 }, (_, i) => {
    const norm = (x: ArrayLike<number>) => Math.hypot(x[2 * i], x[2 * i + 1]);
    return norm(N.data) / (norm(R.data) + 1e-8);
  });
  const residualOf = (residual: 'code' | 'orthogonal', scale: number) => {
    const { direction } = directions(tall, { residual, scale })(G, 1);
    const lifted = multiply(N, inside);
    const outside = minus(direction, { ...lifted, data: lifted.data.map((x) => scale * x) });
    // Row i of S is φ_i times row i of E.
    return { ...outside, data: outside.data.map((x, at) => x / factors[Math.floor(at / 4)]) };
  };

  it('is orthogonal to the subspace as written, and completes the lift to G', () => {
    const E = residualOf('orthogonal', 0.25);
    expect(Math.sqrt(squared(multiply(E, inside, { transposeB: true })))).toBeLessThan(1e-5);
    const whole = minus(asMatrix(G), multiply(R, inside));
    expect(gap(E.data, whole.data)).toBeLessThan(1e-5);
  });

  it('keeps (1 - α) R inside the subspace as released', () => {
    const within = multiply(residualOf('code', 0.25), inside, { transposeB: true });
    expect(
      gap(
        within.data,
        R.data.map((r) => 0.75 * r),
      ),
    ).toBeLessThan(1e-5);
  });

  it('agrees in both modes for α = 1', () => {
    expect(gap(residualOf('code', 1).data, residualOf('orthogonal', 1).data)).toBeLessThan(1e-12);
  });

  it('takes one factor for the whole matrix where asked to', () => {
    const { direction } = directions(tall, { scaling: 'matrix', residual: 'orthogonal' })(G, 1);
    const outside = minus(direction, multiply(N, inside));
    const E = minus(asMatrix(G), multiply(R, inside));
    const factor = Math.sqrt(squared(N) / squared(R));
    expect(
      gap(
        outside.data,
        E.data.map((e) => factor * e),
      ),
    ).toBeLessThan(1e-5);
  });

  it('makes the step full-rank while the state is of rank r', () => {
    const { direction, state } = directions(wide, {})(draw(wide, 1), 1);
    expect(Array.from(svd(direction).s).filter((s) => s > 1e-3)).toHaveLength(4);
    expect(Object.fromEntries(Object.entries(state).map(([k, a]) => [k, a.shape]))).toEqual({
      m: [2, 6],
      v: [2, 6],
      left: [4, 2],
      norm: [],
    });
  });

  it('at full rank, as written, is nothing: GaLore remains', async () => {
    const run = rehearse(engine, fira, { rank: 4, residual: 'orthogonal' }, [startOf(tall)]);
    const plain = rehearse(engine, galore, { rank: 4 }, [startOf(tall)]);
    await drawnSteps(run, 1, 5);
    await drawnSteps(plain, 1, 5);
    expect(gap(numbers(run.arrays.get(tall.name)!), numbers(plain.arrays.get(tall.name)!))).toBeLessThan(
      1e-5,
    );
  });

  it('without epsilon does not see the size of the gradients', () => {
    const [a, b] = [1, 1000].map(
      (scale) => directions(tall, { epsilon: 0 })(draw(tall, 1, scale), 1).direction,
    );
    expect(gap(a.data, b.data)).toBeLessThan(1e-5);
  });
});

describe('the limiter', () => {
  const info: ParameterInfo = { name: 'x', shape: [3], role: 'other' };
  const sizes = (values: number[]) => {
    const step = trace(limitVector(), { ...info, shape: [1, 3] });
    return values.map((v, i) => {
      const { direction, state } = step(array([v, 0, 0], [1, 3]), i + 1);
      return { size: direction.data[0], norm: Number(state.norm.data[0]) };
    });
  };
  const limitVector = () => limitGrowth(1.01);

  it('takes the first norm as it comes, lets norms fall and holds their growth to 1 %', () => {
    const run = sizes([100, 3, 3.01, 50, 1]);
    const expected = [100, 3, 3.01, 3.01 * 1.01, 1];
    run.forEach(({ size, norm }, i) => {
      expect(size).toBeCloseTo(expected[i], 5);
      expect(norm).toBeCloseTo(expected[i], 5);
    });
  });

  it('never stores a norm of zero', () => {
    expect(sizes([0, 5, 0, 5]).map((s) => s.size)).toEqual([0, 5, 0, 5].map((x) => expect.closeTo(x, 6)));
  });

  it('holds inside the method: the stored norm grows by at most 1 % whatever comes', () => {
    const step = directions(tall, { gap: 3 });
    let before = Number.POSITIVE_INFINITY;
    for (let t = 1; t <= 8; t++) {
      const norm = Number(step(draw(tall, t, t), t).state.norm.data[0]);
      expect(norm).toBeLessThanOrEqual(1.01 * before * (1 + 1e-6));
      before = norm;
    }
  });

  it('can be left out, and its state with it', () => {
    expect(stateBytes(fira.rules([tall], options({ limit: false }), 0))).toBe(4 * (2 * 6 * 2 + 4 * 2));
    expect(stateBytes(fira.rules([tall], options({}), 0))).toBe(4 * (2 * 6 * 2 + 4 * 2 + 1));
  });
});

it('reaches a full-rank goal with a basis that stays, where GaLore stalls', async () => {
  const goal = normal(tall.shape, 'goal');
  const left = async (method: typeof fira) => {
    const run = rehearse(engine, method, { rank: 1, gap: 1000 }, [[tall, normal(tall.shape, 'zero', 0, 0)]]);
    for (let t = 1; t <= 80; t++) {
      const g = minus(asMatrix(run.arrays.get(tall.name)!), asMatrix(goal));
      await run.step(new Map([[tall.name, array(g.data, tall.shape)]]), 0.1 * (1 - t / 81), t);
    }
    return squared(minus(asMatrix(run.arrays.get(tall.name)!), asMatrix(goal)));
  };
  const all = squared(asMatrix(goal));
  expect(await left(galore)).toBeGreaterThan(0.2 * all);
  expect(await left(fira)).toBeLessThan(0.05 * all);
});
