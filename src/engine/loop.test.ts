import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  abs,
  add,
  array,
  cast,
  div,
  equal,
  fill,
  greater,
  input,
  matmul,
  maximum,
  mul,
  type NDArray,
  neg,
  not,
  type Operand,
  type Program,
  pow,
  program,
  sigmoid,
  sign,
  softmax,
  sqrt,
  sub,
  sum,
  type Tensor,
  tanh,
  where,
  zeros,
} from '../graph/index.ts';
import { compileLoop, createEngine, type Engine } from './index.ts';

const shape = [7, 9];
const [w, g, m, v] = ['w', 'g', 'm', 'v'].map((name) => input(name, shape));
const [rate, step] = ['rate', 'step'].map((name) => input(name, []));

/** AdamW: moments, bias correction by powers of the step, decoupled decay. */
function adamw(): Program {
  const mix = (old: Tensor, beta: number, fresh: Tensor) => add(mul(old, beta), mul(fresh, 1 - beta));
  const corrected = (t: Tensor, beta: Operand) => div(t, sub(1, pow(beta, step)));
  const [m1, v1] = [mix(m, 0.9, g), mix(v, 0.999, mul(g, g))];
  const update = div(corrected(m1, 0.9), add(sqrt(corrected(v1, 0.999)), 1e-8));
  return program({ w: sub(mul(w, sub(1, mul(rate, 0.01))), mul(rate, update)), m: m1, v: v1 });
}

function noise(dims: number[], k: number): NDArray {
  const n = dims.reduce((a, b) => a * b, 1);
  return array(
    Array.from({ length: n }, (_, i) => Math.sin(k + i * 12.9898)),
    dims,
  );
}

function feeds(): Record<string, NDArray> {
  const squares = noise(shape, 4);
  squares.data.forEach((x, i) => {
    squares.data[i] = Math.abs(Number(x)) as never;
  });
  const tensors = { w: noise(shape, 1), g: noise(shape, 2), m: noise(shape, 3), v: squares };
  return { ...tensors, rate: array([0.01], []), step: array([3], []) };
}

const used = (p: Program, all: Record<string, NDArray>) =>
  Object.fromEntries(p.inputs.map(({ name }) => [name, all[name]]));

const room = (p: Program) =>
  Object.fromEntries(Object.entries(p.outputs).map(([name, t]) => [name, zeros(t.shape, t.dtype)]));

describe('a loop', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine({ threads: 1 });
  });
  afterAll(() => engine.dispose());

  const programs: Record<string, Program> = {
    AdamW: adamw(),
    Lion: program({ w: sub(w, mul(rate, sign(add(mul(m, 0.9), mul(g, 0.1))))), m: add(mul(m, 0.99), g) }),
    clipped: program({ y: mul(g, div(1, maximum(div(abs(step), 2), 1))), z: tanh(sigmoid(g)) }),
    masked: program({ y: where(greater(g, 0), g, mul(m, -0.5)), z: where(not(greater(m, g)), -1, w) }),
    signs: program({ y: sign(where(greater(g, 0.5), 0, g)), z: sign(neg(where(greater(g, 0.5), 0, g))) }),
    truths: program({
      y: equal(greater(g, 0), greater(m, 0)),
      z: where(equal(greater(g, 0), input('on', [], 'bool')), g, 0),
    }),
    filled: program({ y: fill(shape, 0.25), z: add(w, rate) }),
  };

  it.each(Object.keys(programs))('equals ONNX Runtime within float32 rounding: %s', async (name) => {
    const p = programs[name];
    const fed = used(p, { ...feeds(), on: array([1], [], 'bool') });
    const loop = compileLoop(p)!;
    const got = room(p);
    loop.run(fed, got);
    const expected = await (await engine.compile(p)).run(fed);
    for (const [key, { data }] of Object.entries(expected))
      data.forEach((x, i) => {
        const error = Math.abs(Number(got[key].data[i]) - Number(x));
        expect(error, `${key} ${i}`).toBeLessThanOrEqual(4e-7 * Math.max(1, Math.abs(Number(x))));
      });
  });

  it('updates the arrays that it reads, in place', () => {
    const p = adamw();
    const loop = compileLoop(p)!;
    const [apart, own] = [room(p), feeds()];
    loop.run(feeds(), apart);
    loop.run(own, { w: own.w, m: own.m, v: own.v });
    for (const key of ['w', 'm', 'v']) expect(own[key]).toEqual(apart[key]);
    expect(own.g).toEqual(feeds().g);
  });

  it('has no sign of what is no number', () => {
    const [z, into] = [array([Number.NaN, -2, 0, 3], [4]), zeros([4])];
    compileLoop(program({ y: sign(input('z', [4])) }))!.run({ z }, { y: into });
    expect([...into.data]).toEqual([Number.NaN, -1, 0, 1]);
  });

  it('shares its code between parameters of one structure and keeps their names apart', () => {
    const decay = (name: string) => program({ [name]: mul(input(name, [3]), 0.5) });
    for (const name of ['first', 'second']) {
      const own = array([2, 4, 6], [3]);
      compileLoop(decay(name))!.run({ [name]: own }, { [name]: own });
      expect([...own.data]).toEqual([1, 2, 3]);
    }
  });

  it('is not made of anything but elementwise arithmetic over numbers of one shape', () => {
    const square = input('s', [3, 3]);
    const row = input('r', [9]);
    const refused = {
      product: matmul(square, square),
      reduction: sum(w),
      rows: softmax(w),
      broadcast: add(w, row),
      cast: cast(w, 'int64'),
      integers: add(input('n', shape, 'int64'), 1),
    };
    for (const [name, t] of Object.entries(refused))
      expect(compileLoop(program({ [name]: t })), name).toBeUndefined();
    expect(compileLoop(program({ big: mul(w, 2), small: mul(rate, 2) }))).toBeUndefined();
  });

  it('checks what it is fed and where it writes', () => {
    const loop = compileLoop(program({ y: mul(w, rate) }))!;
    const good = { w: zeros(shape), rate: array([1], []) };
    const into = { y: zeros(shape) };
    const code = (text: string) => expect.objectContaining({ code: text });
    expect(() => loop.run({ w: good.w }, into)).toThrow(code('engine/missing-feed'));
    expect(() => loop.run({ ...good, x: good.w }, into)).toThrow(code('engine/unknown-feed'));
    expect(() => loop.run({ ...good, w: zeros([3]) }, into)).toThrow(code('engine/feed-type'));
    expect(() => loop.run(good, {})).toThrow(code('engine/missing-output'));
    expect(() => loop.run(good, { y: zeros([3]) })).toThrow(code('engine/output-type'));
  });
});
