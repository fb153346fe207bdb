import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  asMatrix,
  blockMatrix,
  gap,
  minus,
  normal,
  numbers,
  type Rehearsal,
  rehearse,
  squared,
  turned,
} from '../../tests/optimizers.ts';
import { drawnSteps, recorded, recordedRun, startOf, tall, wide } from '../../tests/optimizers-projected.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array, type NDArray } from '../graph/index.ts';
import { type Matrix, matrix, multiply, svd } from '../linalg/index.ts';
import { adamw } from './adamw.ts';
import { galore } from './galore.ts';
import { defineOptimizer, type ParameterInfo, stateBytes } from './optimizer.ts';
import { byRate, chain, perParameter } from './pieces.ts';
import { type ProjectionOptions, projection, projectionOptions } from './projection.ts';
import { inSubspace, liftBack } from './subspace.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

const square = blockMatrix('square', 5, 5);
const draw = (info: ParameterInfo, t: number) => normal(info.shape, `g/${info.name}`, t);

/** The projection with plain gradient descent on what it gives. */
const projectedSgd = defineOptimizer<ProjectionOptions>({
  ...galore,
  name: 'projected-sgd',
  options: projectionOptions,
  rules: (parameters, o) =>
    perParameter(parameters, (p) => {
      const space = projection('sgd', p, o);
      return chain(inSubspace(space, chain(), liftBack(space, o.scale)), byRate());
    }),
});

const numericRank = (a: Matrix<Float64Array>) => svd(a).s.filter((s) => s > 1e-5).length;

function change(run: Rehearsal, info: ParameterInfo): Matrix<Float64Array> {
  return minus(asMatrix(run.arrays.get(info.name)!), asMatrix(startOf(info)[1]));
}

describe('20 steps as galore-torch', () => {
  it.each(recorded.galore)('$options', async ({ options, weights }) => {
    for (const [name, own] of await recordedRun(engine, galore, options))
      expect(gap(own, weights[name]), name).toBeLessThan(1e-5);
  });
});

describe('the basis', () => {
  it.each([tall, wide, square])(
    'of $name is orthonormal and takes the largest singular values',
    async (info) => {
      const run = rehearse(engine, galore, { rank: 2 }, [startOf(info)]);
      const g = draw(info, 1);
      await run.step(new Map([[info.name, g]]), 0.1, 1);
      const right = run.updates.state.get(`${info.name}/right`);
      const left = run.updates.state.get(`${info.name}/left`);
      expect(Boolean(right)).toBe(info.shape[0] >= info.shape[1]);
      expect(Boolean(left)).toBe(!right);
      const q = right ? asMatrix(right) : turned(asMatrix(left!));
      const gram = multiply(q, q, { transposeB: true });
      expect(gap(gram.data, [1, 0, 0, 1])).toBeLessThan(1e-5);
      const G = asMatrix(g);
      const projector = multiply(q, q, { transposeA: true });
      const kept = right ? multiply(G, projector) : multiply(projector, G);
      const lost = svd(G)
        .s.slice(2)
        .reduce((s, x) => s + x * x, 0);
      expect(squared(minus(G, kept))).toBeCloseTo(lost, 5);
    },
  );

  it('turns its side with the storage: a transposed weight is moved as the weight itself', async () => {
    const layer = { ...tall.layer!, transposed: true };
    const stored: ParameterInfo = { ...tall, shape: [4, 6], layer };
    const [, w] = startOf(tall);
    const turn = (a: NDArray) => array(turned(asMatrix(a)).data, [a.shape[1], a.shape[0]]);
    const plain = rehearse(engine, galore, { rank: 2, gap: 3 }, [[tall, w]]);
    const stood = rehearse(engine, galore, { rank: 2, gap: 3 }, [[stored, turn(w)]]);
    for (let t = 1; t <= 7; t++) {
      await plain.step(new Map([[tall.name, draw(tall, t)]]), 0.05, t);
      await stood.step(new Map([[tall.name, turn(draw(tall, t))]]), 0.05, t);
    }
    const back = turned(asMatrix(stood.arrays.get(tall.name)!));
    expect(gap(back.data, numbers(plain.arrays.get(tall.name)!))).toBeLessThan(1e-6);
  });

  it('is new at steps 1, T + 1, 2T + 1 exactly, and the moments only take their ordinary average', async () => {
    const run = rehearse(engine, galore, { rank: 2, gap: 3 }, [startOf(tall)]);
    const changed: number[] = [];
    let before = '';
    for (let t = 1; t <= 8; t++) {
      const m = numbers(run.updates.state.get('tall.weight/m')!);
      await drawnSteps(run, t, t);
      const basis = run.updates.state.get('tall.weight/right')!;
      if (numbers(basis).join() !== before) changed.push(t);
      before = numbers(basis).join();
      const low = multiply(asMatrix(draw(tall, t)), asMatrix(basis), { transposeB: true });
      const averaged = m.map((x, i) => 0.9 * x + 0.1 * low.data[i]);
      expect(gap(numbers(run.updates.state.get('tall.weight/m')!), averaged)).toBeLessThan(1e-6);
    }
    expect(changed).toEqual([1, 4, 7]);
  });

  it('stays where a gradient is zero, and comes with the first that is not', async () => {
    const run = rehearse(engine, galore, { rank: 2, gap: 3 }, [startOf(tall)]);
    const zero = new Map([[tall.name, normal(tall.shape, 'none', 0, 0)]]);
    const basis = () => numbers(run.updates.state.get('tall.weight/right')!);
    await run.step(zero, 0.1, 1);
    expect(basis().every((x) => x === 0)).toBe(true);
    await drawnSteps(run, 2, 2);
    const first = basis();
    expect(first.some((x) => x !== 0)).toBe(true);
    await drawnSteps(run, 3, 3);
    await run.step(zero, 0.1, 4);
    expect(basis()).toEqual(first);
  });

  it('spans nearly the same space where it is found by a randomized decomposition', async () => {
    const big = blockMatrix('big', 240, 200);
    // Singular values fall as 0.9^i, as a gradient's do.
    const u = svd(asMatrix(normal([240, 200], 'u'))).u;
    const v = svd(asMatrix(normal([200, 200], 'v'))).vt;
    const scaled = matrix(
      240,
      200,
      u.data.map((x, i) => x * 0.9 ** (i % 200)),
    );
    const g = array(multiply(scaled, v).data, big.shape);
    const basisBy = async (decomposition: string) => {
      const run = rehearse(engine, galore, { rank: 8, decomposition }, [startOf(big)]);
      await run.step(new Map([[big.name, g]]), 0.1, 1);
      return asMatrix(run.updates.state.get('big.weight/right')!);
    };
    const overlap = multiply(await basisBy('exact'), await basisBy('randomized'), { transposeB: true });
    expect(Math.min(...svd(overlap).s)).toBeGreaterThan(0.999);
  });
});

describe('the update', () => {
  it('at full rank with plain descent is plain descent', async () => {
    const run = rehearse(engine, projectedSgd, { rank: 4 }, [startOf(tall), startOf(wide)]);
    await drawnSteps(run, 1, 3);
    for (const info of [tall, wide]) {
      const expected = numbers(startOf(info)[1]);
      for (let t = 1; t <= 3; t++)
        numbers(draw(info, t)).forEach((g, i) => {
          expected[i] -= 0.05 * g;
        });
      expect(gap(numbers(run.arrays.get(info.name)!), expected)).toBeLessThan(1e-6);
    }
  });

  it('at full rank is not Adam in its rotated basis, and is Adam in the basis I', async () => {
    const options = { epsilon: 1e-6 };
    const run = rehearse(engine, galore, { ...options, rank: 4 }, [startOf(tall)]);
    const adam = rehearse(engine, adamw, { ...options, form: 'hf' }, [startOf(tall)]);
    // Singular vectors of a gradient with orthogonal rows of falling size are the axes: the basis is I.
    const axes = array([4, 0, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], [6, 4]);
    const both = async (g: NDArray, t: number) => {
      await run.step(new Map([[tall.name, g]]), 0.05, t);
      await adam.step(new Map([[tall.name, g]]), 0.05, t);
      return gap(numbers(run.arrays.get(tall.name)!), numbers(adam.arrays.get(tall.name)!));
    };
    expect(await both(axes, 1)).toBeLessThan(1e-6);
    expect(await both(draw(tall, 2), 2)).toBeLessThan(1e-6);
    const rotated = rehearse(engine, galore, { ...options, rank: 4 }, [startOf(tall)]);
    const plain = rehearse(engine, adamw, { ...options, form: 'hf' }, [startOf(tall)]);
    await drawnSteps(rotated, 1, 2);
    await drawnSteps(plain, 1, 2);
    expect(
      gap(numbers(rotated.arrays.get(tall.name)!), numbers(plain.arrays.get(tall.name)!)),
    ).toBeGreaterThan(1e-3);
  });

  it.each([tall, wide])('changes $name by rank r until the first new basis, by kr after k', async (info) => {
    const run = rehearse(engine, galore, { rank: 1, gap: 3 }, [startOf(info)]);
    await drawnSteps(run, 1, 3);
    expect(numericRank(change(run, info))).toBe(1);
    await drawnSteps(run, 4, 6);
    expect(numericRank(change(run, info))).toBe(2);
  });

  it('without epsilon does not see the size of the gradients, nor clipping', async () => {
    const runs = [1, 1000].map(() => rehearse(engine, galore, { rank: 2, epsilon: 0 }, [startOf(tall)]));
    await drawnSteps(runs[0], 1, 5);
    await drawnSteps(runs[1], 1, 5, 1000);
    const [a, b] = runs.map((r) => numbers(r.arrays.get(tall.name)!));
    expect(gap(a, b)).toBeLessThan(1e-5);
  });

  it('is multiplied by the scale for block matrices and for nothing else', async () => {
    const norm: ParameterInfo = { name: 'norm', shape: [4], role: 'norm' };
    const head: ParameterInfo = { name: 'head', shape: [6, 4], role: 'head' };
    const moved = async (scale: number) => {
      const run = rehearse(engine, galore, { rank: 2, scale }, [startOf(tall), startOf(norm), startOf(head)]);
      await drawnSteps(run, 1, 3);
      const by = (p: ParameterInfo) =>
        numbers(run.arrays.get(p.name)!).map((x, i) => x - numbers(startOf(p)[1])[i]);
      return { tall: by(tall), others: [...by(norm), ...by(head)] };
    };
    const [one, quarter] = [await moved(1), await moved(0.25)];
    expect(
      gap(
        quarter.tall,
        one.tall.map((x) => x / 4),
      ),
    ).toBeLessThan(1e-6);
    expect(quarter.others).toEqual(one.others);
  });
});

describe('the quadratic |W - W*|^2', () => {
  /** Relative distance left after plain projected descent from zero towards a W* of the given rank. */
  async function left(rank: number, gapT: number): Promise<{ left: number; best: number }> {
    const info = blockMatrix('w', 8, 6);
    const goal = asMatrix(normal(info.shape, 'goal'));
    const { u, s, vt } = svd(goal);
    const kept = matrix(
      8,
      6,
      u.data.map((x, i) => (i % 6 < rank ? x * s[i % 6] : 0)),
    );
    const target = multiply(kept, vt);
    const run = rehearse(engine, projectedSgd, { rank: 2, gap: gapT }, [
      [info, normal(info.shape, 'zero', 0, 0)],
    ]);
    for (let t = 1; t <= 60; t++) {
      const g = minus(asMatrix(run.arrays.get(info.name)!), target);
      await run.step(new Map([[info.name, array(g.data, info.shape)]]), 0.3, t);
    }
    const distance = Math.sqrt(squared(minus(asMatrix(run.arrays.get(info.name)!), target)));
    return { left: distance, best: Math.sqrt(s.slice(2, rank).reduce((sum, x) => sum + x * x, 0)) };
  }

  it('is solved at the pace of plain descent where W* has rank r', async () => {
    expect((await left(2, 1000)).left).toBeLessThan(1e-5);
  });

  it('stalls at the best residual of rank r where W* has rank 2r and the basis stays, and is solved where it moves', async () => {
    const fixed = await left(4, 1000);
    expect(fixed.left).toBeCloseTo(fixed.best, 4);
    expect((await left(4, 10)).left).toBeLessThan(1e-3);
  });
});

describe('memory and refusals', () => {
  it.each([
    { info: tall, rank: 2 },
    { info: wide, rank: 3 },
    { info: square, rank: 1 },
  ])('$info.name at rank $rank holds 2 max(m, n) r + min(m, n) r numbers', ({ info, rank }) => {
    const options = galore.options.parse({ rank });
    const [m, n] = info.shape;
    const expected = 2 * Math.max(m, n) * rank + Math.min(m, n) * rank;
    expect(stateBytes(galore.rules([info], options, 0))).toBe(4 * expected);
  });

  it('refuses a rank above the smaller side, a gap of zero and a run without block matrices', () => {
    expect(() => rehearse(engine, galore, { rank: 5 }, [startOf(tall)])).toThrow(
      /cannot project tall.weight of shape \[6,4\] to rank 5. Give a rank of 1 to 4/,
    );
    expect(() => rehearse(engine, galore, { gap: 0 }, [startOf(tall)])).toThrow();
    const norm: ParameterInfo = { name: 'norm', shape: [4], role: 'norm' };
    expect(() => rehearse(engine, galore, {}, [startOf(norm)])).toThrow(/trains none/);
  });
});
