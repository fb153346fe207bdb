import fc from 'fast-check';
import protobuf from 'protobufjs/minimal.js';
import { describe, expect, it } from 'vitest';
import {
  add,
  array,
  cast,
  concat,
  constant,
  detach,
  div,
  evaluate,
  exp,
  expand,
  fill,
  gradients,
  greater,
  input,
  linear,
  matmul,
  maximum,
  mul,
  type NDArray,
  neg,
  type Program,
  program,
  reshape,
  scale,
  simplify,
  slice,
  softmax,
  sub,
  sum,
  type Tensor,
  tanh,
  toOnnx,
  topK,
  transpose,
  where,
} from './index.ts';
import { topological } from './tensor.ts';

const x = input('x', [2, 3]);
const y = input('y', [2, 3]);
const w = input('w', [3, 3]);

/** Names of the operators of a program, inputs left out. */
function operators(p: Program): string[] {
  const names = topological(Object.values(p.outputs)).map((node) => node.op.name);
  return names.filter((name) => name !== 'input').sort();
}

function simplified(outputs: Record<string, Tensor>): string[] {
  return operators(simplify(program(outputs)));
}

/** Node types of an ONNX model: field 4 of the nodes (field 1) of the graph (field 7). */
function onnxTypes(p: Program): string[] {
  const fields = (bytes: Uint8Array, wanted: number) => {
    const reader = protobuf.Reader.create(bytes);
    const found: Uint8Array[] = [];
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === ((wanted << 3) | 2)) found.push(reader.bytes());
      else reader.skipType(tag & 7);
    }
    return found;
  };
  const [graph] = fields(toOnnx(simplify(p)).bytes, 7);
  return fields(graph, 1).map((node) => new TextDecoder().decode(fields(node, 4)[0]));
}

type Step = readonly [kind: number, first: number, second: number, value: number];

const value = fc.constantFrom(0, 1, -1, 2, 0.5, -0, 3);
const steps = fc.array(fc.tuple(fc.nat(16), fc.nat(), fc.nat(), value), { minLength: 1, maxLength: 30 });

/** One operator over tensors of shape [2, 3], whatever it is made of inside. */
function grow([kind, i, j, v]: Step, pool: readonly Tensor[]): Tensor {
  const [a, b] = [pool[i % pool.length], pool[j % pool.length]];
  const builders: (() => Tensor)[] = [
    () => add(a, b),
    () => sub(a, b),
    () => mul(a, v),
    () => mul(v, mul(a, v)),
    () => add(a, v),
    () => sub(v, a),
    () => neg(a),
    () => div(a, v || 1),
    () => tanh(a),
    () => transpose(transpose(a)),
    () => matmul(a, transpose(w)),
    () => reshape(transpose(matmul(a, transpose(w))), [2, 3]),
    () => matmul(matmul(transpose(mul(a, 0.5)), b, { transA: true, transB: true, alpha: 0.25 }), a),
    () => reshape(transpose(reshape(a, [3, 2])), [2, 3]),
    () => concat([slice(a, 1, 1, 3), slice(b, 1, 0, 1)], 1),
    () => mul(expand(sum(a, 1, true), [2, 3]), fill([2, 3], v)),
    () => where(greater(x, y), maximum(a, v), detach(b)),
    () => add(a, constant(array([1, v, 3], [3]))),
  ];
  // Products of products would leave the range in which two orders of rounding agree.
  return tanh(builders[kind]());
}

function close(a: NDArray, b: NDArray): void {
  expect(a.shape).toEqual(b.shape);
  for (let i = 0; i < b.data.length; i++)
    expect(Math.abs(Number(a.data[i]) - Number(b.data[i]))).toBeLessThan(
      2e-6 * Math.max(1, Math.abs(Number(b.data[i]))),
    );
}

const feeds = {
  x: array([0.5, -1, 2, 0.25, 1.5, -0.75], [2, 3]),
  y: array([1, 0.125, -2, 0.5, -0.5, 3], [2, 3]),
  w: array([1, 2, -1, 0.5, -0.5, 1, 0.25, 1, -2], [3, 3]),
};

describe('simplify keeps every value', () => {
  it('of random programs and their gradients', () => {
    fc.assert(
      fc.property(steps, (list) => {
        const pool = [x, y];
        for (const step of list) pool.push(grow(step, pool));
        const last = pool[pool.length - 1];
        const [dx, dw] = gradients(sum(last), [x, w]);
        const p = program({ last, other: pool[pool.length - 2], dx, dw });
        const [before, after] = [evaluate(p, feeds), evaluate(simplify(p), feeds)];
        for (const name of Object.keys(before)) close(after[name], before[name]);
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  it('and is done after one pass', () => {
    fc.assert(
      fc.property(steps, (list) => {
        const pool = [x, y];
        for (const step of list) pool.push(grow(step, pool));
        const once = simplify(program({ last: pool[pool.length - 1] }));
        expect(operators(simplify(once))).toEqual(operators(once));
      }),
      { numRuns: 100, seed: 2 },
    );
  });
});

describe('common subexpressions', () => {
  it('merge, also where a rule rewrote them first', () => {
    expect(simplified({ a: exp(add(x, y)), b: neg(exp(add(x, y))) })).toEqual(['add', 'exp', 'neg']);
    expect(simplified({ a: tanh(mul(mul(x, 2), 3)), b: tanh(mul(x, 6)) })).toEqual(['fill', 'mul', 'tanh']);
    const product = () => softmax(matmul(x, transpose(w)));
    expect(simplified({ a: add(product(), y), b: sub(product(), y) })).toEqual([
      'add',
      'matmul',
      'softmax',
      'sub',
    ]);
  });

  it('do not merge what differs in an attribute', () => {
    expect(simplified({ a: topK(x, 1).values, b: topK(x, 2).values })).toEqual(['topK', 'topK']);
    expect(simplified({ a: sum(x, 1), b: sum(x, 1, true) })).toEqual(['sum', 'sum']);
  });

  it('do not merge constants that share memory but not shape, and zeros that differ in sign', () => {
    const data = Float32Array.of(1, 2, 3, 4, 5, 6);
    const [a, b] = [
      [2, 3],
      [3, 2],
    ].map((shape) => constant({ dtype: 'float32', shape, data }));
    const out = evaluate(simplify(program({ p: add(x, a), q: matmul(x, b) })), feeds);
    expect([...out.p.data]).toEqual([1.5, 1, 5, 4.25, 6.5, 5.25]);
    expect([...out.q.data].slice(0, 2)).toEqual([0.5 - 3 + 10, 1 - 4 + 12]);
    const zeros = evaluate(simplify(program({ p: div(x, 0), q: div(x, -0) })), feeds);
    expect(zeros.p.data[0]).toBe(Number.POSITIVE_INFINITY);
    expect(zeros.q.data[0]).toBe(Number.NEGATIVE_INFINITY);
  });
});

describe('products', () => {
  it('take in the transposes and factors of their operands', () => {
    expect(onnxTypes(program({ y: matmul(x, transpose(w)) }))).toEqual(['FusedMatMul']);
    expect(onnxTypes(program({ y: matmul(transpose(transpose(x)), w) }))).toEqual(['MatMul']);
    expect(onnxTypes(program({ y: matmul(transpose(x), transpose(w), { transA: true }) }))).toEqual([
      'FusedMatMul',
    ]);
    expect(onnxTypes(program({ y: scale(matmul(mul(x, 2), mul(w, 0.25)), 2) }))).toEqual(['MatMul']);
    const q = input('q', [1, 4, 2, 3]);
    const heads = matmul(mul(q, 0.5), transpose(q, [0, 1, 3, 2]));
    expect(onnxTypes(program({ y: heads }))).toEqual(['FusedMatMul']);
  });

  it('leave every transpose of a linear layer and its gradients behind', () => {
    const loss = sum(tanh(linear(x, w)));
    const [dx, dw] = gradients(loss, [x, w]);
    const types = onnxTypes(program({ loss, dx, dw }));
    expect(types.filter((t) => t === 'Transpose')).toEqual([]);
    expect(types.filter((t) => t.endsWith('MatMul')).length).toBe(3);
  });

  it('are computed as their transpose where only that is read', () => {
    const stored = transpose(w);
    const [dw] = gradients(sum(tanh(linear(x, w))), [w]);
    const product = matmul(x, stored);
    expect(onnxTypes(program({ dw: transpose(dw) })).filter((t) => t === 'Transpose')).toEqual([]);
    expect(onnxTypes(program({ y: transpose(product) }))).toEqual(['FusedMatMul']);
    expect(onnxTypes(program({ y: transpose(product), product }))).toEqual(['FusedMatMul', 'Transpose']);
  });

  it('take in what they are added to or taken from, where nothing else reads them', () => {
    const product = matmul(x, w, { alpha: 0.5 });
    expect(onnxTypes(program({ z: add(y, product) }))).toEqual(['Gemm']);
    expect(onnxTypes(program({ z: sub(y, product) }))).toEqual(['Gemm']);
    expect(onnxTypes(program({ z: sub(product, y) }))).toEqual(['FusedMatMul', 'Sub']);
    expect(onnxTypes(program({ z: add(product, y), product }))).toEqual(['FusedMatMul', 'Add']);
    expect(onnxTypes(program({ z: add(product, input('row', [3])) }))).toEqual(['FusedMatMul', 'Add']);
    const p = program({ z: add(matmul(y, x, { transB: true }), matmul(x, y, { transB: true })) });
    close(evaluate(simplify(p), feeds).z, evaluate(p, feeds).z);
    const less = program({ z: sub(y, product) });
    close(evaluate(simplify(less), feeds).z, evaluate(less, feeds).z);
  });

  it('keep a transpose that is no swap of the last two axes', () => {
    const q = input('q', [2, 4, 3]);
    expect(onnxTypes(program({ y: matmul(transpose(q, [1, 0, 2]), w) }))).toEqual(['Transpose', 'MatMul']);
  });
});

describe('a number known only when the program runs', () => {
  const s = input('s', []);
  const tall = input('tall', [6, 2]);
  const long = input('long', [2, 8]);
  /** Shapes that a multiplication by a number still has. */
  const scaledShapes = (outputs: Record<string, Tensor>) =>
    topological(Object.values(simplify(program(outputs)).outputs))
      .filter(({ op, inputs }) => op.name === 'mul' && inputs.some((t) => t.shape.length === 0))
      .map(({ outputs: [t] }) => t.shape);

  it('multiplies the smaller operand of a product, or a product that is smaller', () => {
    expect(scaledShapes({ y: mul(matmul(tall, long), s) })).toEqual([[6, 2]]);
    expect(scaledShapes({ y: matmul(mul(long, s), transpose(long)) })).toEqual([[2, 2]]);
    const product = matmul(tall, long);
    expect(scaledShapes({ y: mul(product, s), product })).toEqual([[6, 8]]);
  });

  it('passes sums, rows that are broadcast and sums of squares', () => {
    const row = input('row', [1, 8]);
    const big = input('big', [6, 8]);
    const step = add(matmul(tall, long), mul(mul(big, s), row));
    expect(scaledShapes({ y: mul(step, s) })).toEqual([
      [6, 2],
      [1, 8],
      [1, 8],
    ]);
    const clipped = mul(big, s);
    expect(scaledShapes({ y: sum(mul(clipped, clipped), 0, true) })).toEqual([[], [1, 8]]);
  });

  it('keeps every value there', () => {
    const row = input('row', [1, 3]);
    const clipped = mul(x, s);
    const squares = sum(mul(clipped, clipped), 0, true);
    const step = add(matmul(x, w), mul(clipped, div(row, squares)));
    const p = program({ y: sub(y, mul(step, s)), z: matmul(mul(x, s), transpose(y)), squares });
    const own = { ...feeds, s: array([0.375], []), row: array([1, -2, 0.5], [1, 3]) };
    const [before, after] = [evaluate(p, own), evaluate(simplify(p), own)];
    for (const name of Object.keys(before)) close(after[name], before[name]);
  });
});

describe('constants', () => {
  it('fold, alone and with filled tensors', () => {
    const c = constant(array([1, 2, 3, 4, 5, 6], [2, 3]));
    const p = program({ y: add(x, mul(transpose(reshape(c, [3, 2])), 2)) });
    expect(simplified(p.outputs)).toEqual(['add', 'constant']);
    expect([...evaluate(simplify(p), feeds).y.data]).toEqual([2.5, 5, 12, 4.25, 9.5, 11.25]);
    expect(simplified({ y: mul(x, exp(sub(fill([2, 3], 1), 1))) })).toEqual([]);
  });

  it('of integers stay integers', () => {
    const ids = cast(add(constant(array([1, 2], [2], 'int32')), 3), 'int64');
    const p = simplify(program({ ids: add(ids, input('n', [2], 'int64')) }));
    expect(operators(p)).toEqual(['add', 'constant']);
    const { ids: out } = evaluate(p, { n: array([10, 20], [2], 'int64') });
    expect([...(out.data as BigInt64Array)]).toEqual([14n, 25n]);
  });

  it('that are large stay unfolded, and neutral operations go unless they broadcast', () => {
    const large = constant({ dtype: 'float32', shape: [300, 300], data: new Float32Array(90_000) });
    expect(simplified({ y: neg(large) })).toEqual(['constant', 'neg']);
    expect(simplified({ y: add(mul(div(sub(x, 0), 1), 1), 0) })).toEqual([]);
    expect(simplified({ y: add(fill([4, 2, 3], 0), x) })).toEqual(['add', 'fill']);
  });

  it('of two factors that would leave float32 stay two', () => {
    expect(simplified({ y: mul(mul(x, 1e-25), 1e-25) })).toEqual(['fill', 'mul', 'mul']);
  });
});

describe('a program', () => {
  it('refuses two inputs of one name', () => {
    const clash = () => program({ y: add(input('a', [2]), input('a', [2])) });
    expect(clash).toThrow(expect.objectContaining({ code: 'graph/input-clash' }));
  });

  it('serializes to the same bytes whatever its inputs are called', () => {
    const build = (a: string, b: string) =>
      toOnnx(program({ [`${a}${b}`]: matmul(input(a, [2, 3]), input(b, [3, 4])) })).bytes;
    expect(build('a', 'b')).toEqual(build('left', 'right'));
  });
});
