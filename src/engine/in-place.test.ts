import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  add,
  array,
  div,
  evaluate,
  exp,
  input,
  matmul,
  mul,
  type NDArray,
  program,
  reshape,
  simplify,
  sub,
  sum,
  type Tensor,
  tanh,
  transpose,
} from '../graph/index.ts';
import { inPlace } from './in-place.ts';
import { createEngine, type Engine } from './index.ts';

const x = input('x', [3, 3]);
const y = input('y', [3, 3]);
const row = input('row', [1, 3]);

/** For each output the inputs that it may be written over; none where there are none. */
function places(outputs: Record<string, Tensor>): Record<string, string[]> {
  const p = simplify(program(outputs));
  const may = inPlace(p);
  const found = Object.keys(p.outputs).map((name) => [
    name,
    p.inputs.map((i) => i.name).filter((input) => may(name, input)),
  ]);
  return Object.fromEntries(found.filter(([, inputs]) => inputs.length > 0));
}

describe('an output may be written over', () => {
  it('what its own operator reads element by element, and nothing else reads later', () => {
    expect(places({ p: sub(x, matmul(y, y)) })).toEqual({ p: ['x'] });
    expect(places({ p: sub(x, tanh(y)) })).toEqual({ p: ['x', 'y'] });
    expect(places({ m: add(mul(x, 0.9), mul(y, 0.1)) })).toEqual({ m: ['x', 'y'] });
    expect(places({ p: sub(x, mul(y, sum(x))) })).toEqual({ p: ['x', 'y'] });
  });

  it('nothing that is read later, by another output or by a product', () => {
    expect(places({ p: sub(x, y), s: exp(x) })).toEqual({ p: ['y'] });
    expect(places({ p: add(matmul(x, y), x) })).toEqual({});
    expect(places({ p: tanh(x) })).toEqual({ p: ['x'] });
    expect(places({ p: transpose(x) })).toEqual({});
  });

  it('nothing that leaves unchanged, is broadcast or is seen through a view that is read later', () => {
    expect(places({ p: sub(x, y), same: x })).toEqual({ p: ['y'] });
    expect(places({ p: sub(x, row) })).toEqual({ p: ['x'] });
    const flat = reshape(x, [9]);
    expect(places({ p: sub(x, y), s: sum(mul(flat, flat)) })).toEqual({ p: ['y'] });
    expect(places({ p: sub(x, reshape(reshape(x, [9]), [3, 3])) })).toEqual({ p: ['x'] });
  });
});

type Step = readonly [kind: number, first: number, second: number];
const steps = fc.array(fc.tuple(fc.nat(9), fc.nat(), fc.nat()), { minLength: 2, maxLength: 12 });

function grow([kind, i, j]: Step, pool: readonly Tensor[]): Tensor {
  const [a, b] = [pool[i % pool.length], pool[j % pool.length]];
  const builders: (() => Tensor)[] = [
    () => add(a, b),
    () => sub(a, b),
    () => mul(a, b),
    () => div(a, add(exp(b), 1)),
    () => tanh(a),
    () => matmul(tanh(a), tanh(b)),
    () => add(matmul(a, b, { transA: true }), a),
    () => mul(a, sum(tanh(b), 1, true)),
    () => reshape(transpose(reshape(a, [9, 1])), [3, 3]),
    () => sub(a, row),
  ];
  return tanh(builders[kind]());
}

describe('a run in place', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine({ threads: 1 });
  });
  afterAll(() => engine.dispose());

  it('gives what a run into fresh arrays gives, whatever is written over what', async () => {
    const values: Record<string, readonly number[]> = {
      x: [0.5, -1, 2, 0.25, 1.5, -0.75, 0.1, -0.3, 1],
      y: [1, 0.125, -2, 0.5, -0.5, 3, 0.7, -1.1, 0.2],
      row: [0.3, -0.6, 0.9],
    };
    await fc.assert(
      fc.asyncProperty(steps, fc.boolean(), async (list, crossed) => {
        const pool: Tensor[] = [x, y];
        for (const step of list) pool.push(grow(step, pool));
        // Bare sums and products at the end: operators that may overwrite.
        const last = pool.slice(-2);
        const p = program({ a: add(last[0], x), b: mul(last[1], y) });
        const feeds: Record<string, NDArray> = Object.fromEntries(
          p.inputs.map(({ name, shape }) => [name, array(values[name], shape)]),
        );
        const expected = evaluate(p, feeds);
        const { run, release } = await engine.compile(p);
        const into = crossed ? { a: feeds.y, b: feeds.x } : { a: feeds.x, b: feeds.y };
        const got = await run(feeds, into);
        await release();
        for (const name of ['a', 'b'] as const) {
          expect(got[name]).toBe(into[name]);
          expected[name].data.forEach((value, i) => {
            expect(Math.abs(Number(got[name].data[i]) - Number(value))).toBeLessThan(1e-5);
          });
        }
      }),
      { numRuns: 60, seed: 1 },
    );
  });
});
