import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  abs,
  add,
  byteSize,
  concat,
  div,
  evaluate,
  exp,
  gradients,
  input,
  log,
  logSoftmax,
  matmul,
  mul,
  type NDArray,
  neg,
  type Program,
  program,
  relu,
  reshape,
  scatterRows,
  sigmoid,
  simplify,
  slice,
  softmax,
  split,
  sqrt,
  sub,
  sum,
  type Tensor,
  tanh,
  transpose,
  zeros,
} from '../graph/index.ts';
import type { Node } from '../graph/tensor.ts';
import { random } from '../linalg/index.ts';
import { createEngine, type Engine } from './index.ts';
import { SMALLEST_PLACED } from './schedule.ts';
import { viewsOf } from './views.ts';
import { planWorkspace, type Workspace } from './workspace.ts';

/** The smallest square of numbers that is placed. */
const N = 128;
const SQUARE = [N, N];
const x = input('x', SQUARE);
const y = input('y', SQUARE);
const ids = input('ids', [N], 'int64');

type Step = readonly [kind: number, first: number, second: number];
const steps = fc.array(fc.tuple(fc.nat(13), fc.nat(), fc.nat()), { minLength: 2, maxLength: 24 });

/** One operator over squares, or a few. */
function grow([kind, i, j]: Step, pool: readonly Tensor[]): Tensor {
  const [a, b] = [pool[i % pool.length], pool[j % pool.length]];
  const builders: (() => Tensor)[] = [
    () => add(a, b),
    () => sub(a, b),
    () => mul(a, b),
    () => div(a, add(exp(b), 1)),
    () => tanh(a),
    () => matmul(a, b, { alpha: 1 / N }),
    () => add(matmul(a, b, { transA: true, alpha: 1 / N }), a),
    () => mul(a, sum(b, 1, true)),
    () => transpose(reshape(transpose(reshape(a, [N / 2, 2 * N])), SQUARE)),
    () => softmax(a),
    () => sub(logSoftmax(neg(a)), b),
    () => concat(split(a, 0, 2).toReversed(), 0),
    () => add(scatterRows(a, ids, SQUARE), b),
    () => matmul(softmax(matmul(a, b, { transB: true, alpha: 1 / N })), reshape(abs(b), SQUARE)),
  ];
  const grown = builders[kind]();
  // Now and then back to moderate numbers.
  return (i + j) % 3 === 0 ? tanh(grown) : grown;
}

/** A random program with gradients, whose branches are many and whose results are read in many orders. */
function randomProgram(list: readonly Step[]): Program {
  const pool: Tensor[] = [x, y];
  for (const step of list) pool.push(tanh(grow(step, pool)));
  const last = pool[pool.length - 1];
  const [dx, dy] = gradients(sum(mul(last, last)), [x, y]);
  return program({ last, middle: pool[pool.length >> 1], dx, dy });
}

/**
 * Runs the operators in an order that their operands and `waits` allow, without computing anything, and follows whose
 * values lie where: fails where an operator reads what has been written over.
 */
function followMemory(
  p: Program,
  { order, results, waits }: Workspace,
  choose: (count: number) => number,
): void {
  const { isView, rootOf } = viewsOf(p, order);
  const place = new Map<Tensor, readonly [string, number, number]>(
    results.map(({ tensor, at }) => [
      tensor,
      typeof at === 'string'
        ? [at, 0, byteSize(tensor.shape, tensor.dtype)]
        : ['', at, at + byteSize(tensor.shape, tensor.dtype)],
    ]),
  );
  for (const [name, t] of Object.entries(p.outputs)) place.set(t, [name, 0, byteSize(t.shape, t.dtype)]);
  const valid = new Set<Tensor>();
  const write = (t: Tensor) => {
    const [memory, from, to] = place.get(t)!;
    for (const other of valid) {
      const [m, f, e] = place.get(other)!;
      if (m === memory && f < to && from < e) valid.delete(other);
    }
    valid.add(t);
  };
  const before = new Map<Node, Node[]>(
    order.map((node) => [node, [...node.inputs.map((t) => t.node), ...(waits.get(node) ?? [])]]),
  );
  const done = new Set<Node>();
  while (done.size < order.length) {
    const ready = order.filter((node) => !done.has(node) && before.get(node)!.every((n) => done.has(n)));
    expect(ready.length).toBeGreaterThan(0);
    const node = ready[choose(ready.length)];
    done.add(node);
    if (isView(node)) continue;
    for (const t of node.inputs.map(rootOf)) if (place.has(t)) expect(valid.has(t)).toBe(true);
    for (const t of node.outputs) if (place.has(t)) write(t);
  }
}

function someSquare(seed: number): NDArray {
  const array = zeros(SQUARE);
  random(seed, 'square').fillNormal(array.data as Float32Array);
  return array;
}

function someIds(): NDArray {
  const array = zeros([N], 'int64');
  for (let i = 0; i < N; i++) array.data[i] = BigInt((i * i) % N);
  return array;
}

const values: Record<string, NDArray> = { x: someSquare(1), y: someSquare(2), ids: someIds() };

function feedsOf(p: Program): Record<string, NDArray> {
  return Object.fromEntries(p.inputs.map(({ name }) => [name, values[name]]));
}

function largestDifference(a: NDArray, b: NDArray): number {
  let most = 0;
  for (let i = 0; i < b.data.length; i++) {
    const difference = Math.abs(Number(a.data[i]) - Number(b.data[i]));
    if (!(difference <= most)) most = difference;
  }
  return most;
}

describe('a planned workspace', () => {
  it('is never written over what is still to be read, in whatever order operators run', () => {
    fc.assert(
      fc.property(steps, fc.infiniteStream(fc.nat()), (list, choices) => {
        const p = simplify(randomProgram(list));
        followMemory(p, planWorkspace(p), (count) => choices.next().value % count);
      }),
      { numRuns: 150, seed: 1 },
    );
  });

  it('holds as much as is needed at once, not as much as there is', () => {
    let t: Tensor = x;
    for (let i = 0; i < 20; i++) t = matmul(softmax(t), y);
    expect(planWorkspace(simplify(program({ s: sum(t) }))).bytes).toBe(2 * byteSize(x.shape, x.dtype));
  });

  it('has one place for a result and what is written over it', () => {
    const one = planWorkspace(simplify(program({ s: sum(exp(neg(tanh(matmul(x, y))))) })));
    expect(one.bytes).toBe(byteSize(x.shape, x.dtype));
    expect(one.results).toHaveLength(4);
    expect(one.waits.size).toBe(0);
  });

  it('lies in the array of an output that is written over it', () => {
    const { bytes, results } = planWorkspace(simplify(program({ z: exp(matmul(x, y)) })));
    expect(bytes).toBe(0);
    expect(results.map(({ at }) => at)).toEqual(['z']);
  });

  it('computes the gradient of a weight before that of what lies below it', () => {
    let h: Tensor = x;
    const weights = Array.from({ length: 8 }, (_, i) => input(`w${i}`, SQUARE));
    for (const w of weights) h = tanh(matmul(h, w));
    const grads = gradients(sum(h), weights);
    const p = simplify(program(Object.fromEntries(grads.map((g, i) => [`d${i}`, g]))));
    // The activations of eight layers, and what flows back through one of them.
    expect(planWorkspace(p).bytes).toBeLessThanOrEqual(10 * byteSize(x.shape, x.dtype));
  });

  it('lays no result across two pieces of memory, however large it is', () => {
    for (const rows of [100, 1000, 12_000]) {
      const [wide, back] = [input('wide', [rows, 20_000]), input('back', [20_000, 20_000])];
      const parts = [1, 2, 3, 4].map((k) => matmul(tanh(mul(wide, k)), back));
      const shown = parts.map((part) => sum(mul(part, parts.reduce(add))));
      const { bytes, piece, results } = planWorkspace(simplify(program({ s: shown.reduce(add) })));
      expect(bytes).toBeGreaterThanOrEqual(5 * 4 * 20_000 * rows);
      for (const { tensor, at } of results)
        expect(Math.floor(Number(at) / piece)).toBe(
          Math.floor((Number(at) + byteSize(tensor.shape, tensor.dtype) - 1) / piece),
        );
    }
  });

  it('leaves small results alone', () => {
    const small = input('small', [N, N - 1]);
    expect(byteSize(small.shape, small.dtype)).toBeLessThan(SMALLEST_PLACED);
    expect(planWorkspace(simplify(program({ s: sum(exp(tanh(small))) }))).results).toEqual([]);
  });
});

describe('a run in a workspace', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine({ threads: 2 });
  });
  afterAll(() => engine.dispose());

  /** Of a second run, which finds the first one's results. */
  async function runTwice(p: Program): Promise<Record<string, NDArray>> {
    const { run, release } = await engine.compile(p);
    const feeds = feedsOf(p);
    await run(feeds);
    const result = await run(feeds);
    await release();
    return result;
  }

  function expectClose(got: NDArray, expected: NDArray): void {
    const size = largestDifference(expected, zeros(expected.shape));
    expect(largestDifference(got, expected)).toBeLessThanOrEqual(2e-5 * Math.max(1, size));
  }

  it('gives what reference arithmetic gives', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (list) => {
        const p = randomProgram(list);
        const [expected, got] = [evaluate(p, feedsOf(p)), await runTwice(p)];
        for (const name of Object.keys(p.outputs)) expectClose(got[name], expected[name]);
      }),
      { numRuns: 30, seed: 2 },
    );
  });

  const square = exp(tanh(matmul(x, y)));
  const overwriting: Record<string, Tensor> = {
    add: add(square, y),
    'add, of one with itself': add(square, square),
    'sub, from the right': sub(y, square),
    mul: mul(square, sum(y, 1, true)),
    div: div(y, square),
    neg: neg(square),
    abs: abs(sub(square, 1)),
    exp: exp(neg(square)),
    log: log(square),
    sqrt: sqrt(square),
    sigmoid: sigmoid(square),
    relu: relu(sub(square, 1)),
    softmax: softmax(square),
    logSoftmax: logSoftmax(square),
    scatterAdd: add(scatterRows(y, ids, SQUARE), square),
    matmulAdd: add(matmul(x, y, { transA: true, alpha: 0.5 }), square),
  };

  it.each(Object.entries(overwriting))('over its operand: %s', async (_, result) => {
    const p = program({ s: sum(mul(result, y), 1) });
    const squares = planWorkspace(simplify(p)).results.filter(({ tensor }) => tensor.dtype === 'float32');
    expect(new Set(squares.map(({ at }) => at)).size).toBe(1);
    expectClose((await runTwice(p)).s, evaluate(p, feedsOf(p)).s);
  });

  it('takes no memory of what it is fed, nor of arrays it writes into', async () => {
    const p = program({ y: exp(add(matmul(x, y), x)) });
    const { run } = await engine.compile(p);
    const feeds = { x: someSquare(1), y: someSquare(2) };
    const expected = (await run(feeds)).y;
    expect(largestDifference(feeds.x, values.x)).toBe(0);
    const into = { y: feeds.x };
    expect((await run(feeds, into)).y).toBe(feeds.x);
    expect(largestDifference(feeds.x, expected)).toBe(0);
  });

  it('writes an output over the input of its name, and no result before it', async () => {
    const p = program({ x: sub(x, exp(tanh(matmul(x, y)))) });
    expect(planWorkspace(simplify(p)).results.map(({ at }) => at)).toEqual([0, 0, 0]);
    const feeds = { x: someSquare(1), y: someSquare(2) };
    const expected = evaluate(p, feeds).x;
    expect((await (await engine.compile(p)).run(feeds, { x: feeds.x })).x).toBe(feeds.x);
    expectClose(feeds.x, expected);
  });

  it('keeps results apart that two programs give in turn', async () => {
    const [p, q] = [exp(tanh(matmul(x, y))), slice(mul(tanh(add(x, y)), 3), 0, 0, 64)];
    const first = await engine.compile(program({ s: sum(p, 1) }));
    const before = (await first.run(feedsOf(program({ p })))).s;
    const copy = { ...before, data: before.data.slice() };
    const second = await engine.compile(program({ s: mul(q, q) }));
    const after = await second.run(feedsOf(program({ q })));
    expect(largestDifference(before, copy)).toBe(0);
    expect(largestDifference((await first.run(feedsOf(program({ p })))).s, copy)).toBe(0);
    expect(after.s.shape).toEqual([64, N]);
  });
});
