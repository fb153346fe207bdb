import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  add,
  array,
  cast,
  constant,
  gather,
  gradients,
  input,
  matmul,
  mul,
  type NDArray,
  program,
  relu,
  scatterRows,
  sqrt,
  square,
  sum,
  withGradient,
  zeros,
} from '../graph/index.ts';
import { createEngine, type Device, type Engine, Ledger } from './index.ts';

const a = input('a', [2, 2]);
const b = input('b', [2, 2]);
const feeds = { a: array([1, 2, 3, 4], [2, 2]), b: array([5, 6, 7, 8], [2, 2]) };

const failure = (code: string, ...culprits: string[]) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(new RegExp(culprits.join('.*'))),
  });

describe.each<Device>(['cpu', 'wasm'])('an engine on %s', (device) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine({ device, threads: 2 });
  });
  afterAll(() => engine.dispose());

  it('refuses feeds that are missing, unknown, or of another type, shape or length', async () => {
    const { run } = await engine.compile(program({ y: add(a, b) }));
    const rejects = (fed: Record<string, NDArray>, ...expected: [string, ...string[]]) =>
      expect(run(fed)).rejects.toEqual(failure(...expected));
    await rejects({ a: feeds.a }, 'engine/missing-feed', '"b"');
    await rejects({ ...feeds, c: feeds.a }, 'engine/unknown-feed', '"c"', 'a, b');
    const integers = array([1, 2, 3, 4], [2, 2], 'int64');
    await rejects({ ...feeds, b: integers }, 'engine/feed-type', '"b"', 'float32\\[2, 2\\]', 'int64');
    const flat = array([1, 2, 3, 4], [4]);
    await rejects({ ...feeds, b: flat }, 'engine/feed-type', '"b"', 'float32\\[2, 2\\]', 'float32\\[4\\]');
    const short = { ...feeds.b, data: new Float32Array(3) };
    await rejects({ ...feeds, b: short }, 'engine/feed-type', '"b"', '3 elements');
  });

  it('refuses output arrays that do not fit', async () => {
    const { run } = await engine.compile(program({ y: add(a, b) }));
    await expect(run(feeds, { z: zeros([2, 2]) })).rejects.toEqual(
      failure('engine/unknown-output', '"z"', 'y'),
    );
    await expect(run(feeds, { y: zeros([4]) })).rejects.toEqual(failure('engine/output-type', '"y"'));
  });

  it('asks for every input of the trace, also for one that simplification dropped', async () => {
    const p = program({ y: withGradient(square(a), [a, b], (g) => [g, g]) });
    const { run } = await engine.compile(p);
    await expect(run({ a: feeds.a })).rejects.toEqual(failure('engine/missing-feed', '"b"'));
    expect([...(await run(feeds)).y.data]).toEqual([1, 4, 9, 16]);
  });

  it('writes outputs into the arrays that it is given and allocates the others', async () => {
    const { run } = await engine.compile(program({ sum: add(a, b), product: mul(a, b) }));
    const into = zeros([2, 2]);
    const out = await run(feeds, { sum: into });
    expect(out.sum).toBe(into);
    expect([...into.data]).toEqual([6, 8, 10, 12]);
    expect([...out.product.data]).toEqual([5, 12, 21, 32]);
    await run({ a: feeds.b, b: feeds.b }, { sum: into });
    expect([...into.data]).toEqual([10, 12, 14, 16]);
  });

  it('may write an output over the input that other outputs still read', async () => {
    const { run } = await engine.compile(program({ a: mul(a, 10), y: matmul(a, b) }));
    const own = { ...feeds.a, data: feeds.a.data.slice() };
    const out = await run({ ...feeds, a: own }, { a: own, y: zeros([2, 2]) });
    expect([...own.data]).toEqual([10, 20, 30, 40]);
    expect([...out.y.data]).toEqual([19, 22, 43, 50]);
  });

  it('returns an unchanged input and one tensor under two names as arrays of their own', async () => {
    const y = add(a, b);
    const { run } = await engine.compile(program({ a, first: y, second: y, again: a }));
    const into = { first: zeros([2, 2]), second: zeros([2, 2]) };
    const out = await run(feeds, into);
    for (const name of ['first', 'second']) expect([...out[name].data]).toEqual([6, 8, 10, 12]);
    for (const name of ['a', 'again']) expect([...out[name].data]).toEqual([1, 2, 3, 4]);
    const plain = await run(feeds);
    const buffers = Object.values(plain).map((o) => o.data.buffer);
    expect(new Set([...buffers, feeds.a.data.buffer]).size).toBe(5);
  });

  it('returns constants, scalars, integers and booleans', async () => {
    const flags = constant(array([1, 0], [2], 'bool'));
    const p = program({
      flags,
      total: sum(a),
      whole: cast(mul(a, 1.6), 'int64'),
      truth: cast(sum(a, 0), 'bool'),
    });
    const out = await (await engine.compile(p)).run({ a: feeds.a });
    expect([...out.flags.data]).toEqual([1, 0]);
    expect(out.total.shape).toEqual([]);
    expect([...out.total.data]).toEqual([10]);
    expect([...out.whole.data]).toEqual([1n, 3n, 4n, 6n]);
    expect([...out.truth.data]).toEqual([1, 1]);
    expect(Object.values(out).map((o) => o.dtype)).toEqual(['bool', 'float32', 'int64', 'bool']);
  });
});

describe('an engine', () => {
  it('runs two programs of one structure in one session, each under its own names', async () => {
    const engine = await createEngine({ threads: 1 });
    const layer = (n: number) => {
      const [x, w] = [input(`x${n}`, [2, 2]), input(`w${n}`, [2, 2])];
      return program({ [`y${n}`]: relu(matmul(x, w)) });
    };
    const compiled = await Promise.all([0, 1].map((n) => engine.compile(layer(n))));
    expect(engine.sessions).toBe(1);
    const first = await compiled[0].run({ x0: feeds.a, w0: feeds.b });
    const second = await compiled[1].run({ x1: feeds.b, w1: feeds.a });
    expect([...first.y0.data]).toEqual([19, 22, 43, 50]);
    expect([...second.y1.data]).toEqual([23, 34, 31, 46]);
    await engine.compile(program({ y: matmul(a, b) }));
    expect(engine.sessions).toBe(2);
    await engine.dispose();
    expect(engine.sessions).toBe(0);
  });

  it('gives a session back with the last program that shares it', async () => {
    const engine = await createEngine({ threads: 1 });
    const compile = () => engine.compile(program({ y: add(a, b) }));
    const [one, other] = [await compile(), await compile()];
    await one.release();
    await one.release();
    expect(engine.sessions).toBe(1);
    expect([...(await other.run(feeds)).y.data]).toEqual([6, 8, 10, 12]);
    await other.release();
    expect(engine.sessions).toBe(0);
    expect([...(await (await compile()).run(feeds)).y.data]).toEqual([6, 8, 10, 12]);
    await engine.dispose();
  });

  it('gives the same bits in every run at two threads, also where rows repeat', async () => {
    const engine = await createEngine({ threads: 2 });
    const [rows, width] = [512, 96];
    const [table, i] = [input('table', [8, width]), input('i', [rows], 'int64')];
    const w = input('w', [width, width]);
    const loss = sum(square(matmul(gather(table, i), w)));
    const [dt, dw] = gradients(loss, [table, w]);
    const p = program({ loss, dt, dw, scattered: scatterRows(gather(table, i), i, [8, width]) });
    const noise = (n: number) => Float32Array.from({ length: n }, (_, k) => Math.sin(k * 12.9898) * 43.7);
    const fed = {
      table: { dtype: 'float32' as const, shape: [8, width], data: noise(8 * width) },
      w: { dtype: 'float32' as const, shape: [width, width], data: noise(width * width) },
      i: array(
        Array.from({ length: rows }, (_, k) => (k * k) % 8),
        [rows],
        'int64',
      ),
    };
    const { run } = await engine.compile(p);
    const first = await run(fed);
    for (let k = 0; k < 50; k++) expect(await run(fed)).toEqual(first);
    await engine.dispose();
  });

  it('says what to do about a device that is not there', async () => {
    const device = process.platform === 'darwin' ? 'dml' : 'coreml';
    const engine = await createEngine({ device });
    await expect(engine.compile(program({ y: sqrt(a) }))).rejects.toEqual(
      failure('engine/device', device, 'cpu'),
    );
    await engine.dispose();
  });
});

describe('a ledger', () => {
  it('adds what is held, forgets what is freed and remembers the peak', () => {
    const ledger = new Ledger();
    ledger.hold('weights', 'w', 100);
    ledger.hold('gradients', 'dw', 50);
    ledger.hold('gradients', 'db', 5);
    expect([ledger.alive, ledger.peak]).toEqual([155, 155]);
    expect(ledger.byKind()).toEqual({ weights: 100, gradients: 55 });
    ledger.free('dw');
    ledger.free('never held');
    expect([ledger.alive, ledger.peak]).toEqual([105, 155]);
    ledger.hold('optimizer', 'w', 20);
    expect([ledger.alive, ledger.peak]).toEqual([25, 155]);
    expect(ledger.byKind()).toEqual({ optimizer: 20, gradients: 5 });
  });
});
