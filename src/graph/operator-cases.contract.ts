import { readFileSync } from 'node:fs';
import {
  abs,
  add,
  allocate,
  and,
  averagePool2d,
  cast,
  concat,
  conv2d,
  cos,
  crossEntropy,
  type DType,
  detach,
  div,
  equal,
  erf,
  exp,
  expand,
  floor,
  gather,
  gatherElements,
  gelu,
  geluTanh,
  gradients,
  greater,
  greaterEqual,
  input,
  l2Normalize,
  layerNorm,
  less,
  linear,
  linearCrossEntropy,
  log,
  logSoftmax,
  matmul,
  max,
  maximum,
  maxPool2d,
  mean,
  minimum,
  mul,
  type NDArray,
  neg,
  not,
  or,
  type Program,
  pad,
  pow,
  program,
  relu,
  reshape,
  rmsNorm,
  scatterAdd,
  scatterRows,
  sigmoid,
  sign,
  silu,
  sin,
  slice,
  softmax,
  split,
  sqrt,
  square,
  squaredError,
  squeeze,
  sub,
  sum,
  type Tensor,
  tanh,
  topK,
  transpose,
  unsqueeze,
  where,
  withGradient,
} from './index.ts';

type Inputs = Record<string, Tensor>;
type Build = (inputs: Inputs) => Tensor;
type Pair = readonly [number, number];

/** What PyTorch says of one case; scripts/reference/graph/record.py records it. */
export interface Recorded {
  readonly inputs: Record<string, { dtype: DType; shape: number[]; data: number[] }>;
  readonly value: { shape: number[]; data: number[] };
  readonly seed: number[];
  readonly gradients: Record<string, number[]>;
}

const file = new URL('../../tests/golden/graph/operators.json', import.meta.url);
export const recorded = (JSON.parse(readFileSync(file, 'utf8')) as { cases: Record<string, Recorded> }).cases;

const unary = { neg, abs, sign, exp, log, sqrt, tanh, sigmoid, erf, sin, cos, floor, relu, square };
const activations = { silu, gelu, geluTanh, softmax, logSoftmax, l2Normalize: (x: Tensor) => l2Normalize(x) };
const binary = { add, sub, mul, div, pow, maximum, minimum };
const comparisons = { equal, greater, less, greaterEqual };
const batches = ['plain', 'batch', 'shared second', 'shared first', 'ones', 'crossed'];

const windows: Record<string, { stride: Pair; padding: Pair; dilation: Pair }> = {
  plain: { stride: [1, 1], padding: [0, 0], dilation: [1, 1] },
  padded: { stride: [1, 1], padding: [1, 1], dilation: [1, 1] },
  strided: { stride: [2, 2], padding: [0, 0], dilation: [1, 1] },
  leftover: { stride: [2, 3], padding: [1, 1], dilation: [1, 1] },
  dilated: { stride: [1, 1], padding: [1, 2], dilation: [2, 2] },
  everything: { stride: [2, 3], padding: [1, 2], dilation: [3, 2] },
};

function families(): Record<string, Build> {
  const built: Record<string, Build> = {};
  for (const [name, f] of Object.entries({ ...unary, ...activations })) built[name] = ({ x }) => f(x);
  for (const [name, f] of Object.entries(binary))
    for (const kind of ['same', 'row', 'both', 'scalar', 'left'])
      built[`${name} ${kind}`] = ({ a, b }) => f(a, b);
  for (const [name, f] of Object.entries(comparisons))
    built[`where ${name}`] = ({ p, q, a, b }) => where(f(p, q), a, b);
  for (const kind of batches)
    for (const transA of [false, true])
      for (const transB of [false, true])
        built[`matmul ${kind}${transA ? ' transA' : ''}${transB ? ' transB' : ''}`] = ({ a, b }) =>
          matmul(a, b, { transA, transB, alpha: 0.5 });
  for (const [kind, options] of Object.entries(windows))
    built[`conv2d ${kind}`] = ({ x, w, b }) => conv2d(x, w, b, options);
  for (const rows of [1, 2, 3, 5])
    for (const suffix of ['', ' bias'])
      built[`linearCrossEntropy rows ${rows}${suffix}`] = ({ h, v, t, w, b }) =>
        linearCrossEntropy(h, v, t, w, { bias: b, rows });
  return built;
}

/** Every operator in every form that its gradient rule or lowering treats apart, by the name of its recorded case. */
export const cases: Record<string, Build> = {
  ...families(),
  'relu of zero': ({ x }) => relu(x),
  'pow number': ({ x }) => pow(x, 3),
  logic: ({ p, q, x }) => where(or(and(p, not(q)), greater(x, 1)), square(x), 0),
  'cast bool to float': ({ p, x }) => mul(cast(p, 'float32'), x),
  'cast float to int': ({ x }) => cast(cast(x, 'int64'), 'float32'),
  'cast float to bool': ({ x }) => cast(cast(x, 'bool'), 'float32'),
  linear: ({ x, w, b }) => linear(x, w, b),
  'sum all': ({ x }) => sum(x),
  'sum axis': ({ x }) => sum(x, 1),
  'sum axes keep': ({ x }) => sum(x, [0, 2], true),
  'sum last': ({ x }) => sum(x, -1),
  'mean axes': ({ x }) => mean(x, [1, 2]),
  'max all': ({ x }) => max(x),
  'max axis keep': ({ x }) => max(x, 1, true),
  'max ties': ({ x }) => max(x, 1),
  reshape: ({ x }) => reshape(x, [4, -1]),
  'transpose last': ({ x }) => transpose(x),
  'transpose perm': ({ x }) => transpose(x, [2, 0, 1]),
  expand: ({ x }) => expand(x, [2, 3, 4]),
  slice: ({ x }) => slice(x, 1, 1, 4),
  split: ({ x }) => {
    const [first, , third] = split(x, -1, 3);
    return mul(first, third);
  },
  concat: ({ a, b, c }) => concat([a, b, c], -1),
  pad: ({ x }) => pad(x, -1, 1, 2),
  squeeze: ({ x }) => unsqueeze(squeeze(x, 1), -1),
  layerNorm: ({ x, w, b }) => layerNorm(x, w, b, 1e-5),
  rmsNorm: ({ x, w }) => rmsNorm(x, w, 1e-5),
  gather: ({ x, i }) => gather(x, i),
  'gather vector': ({ x, i }) => gather(x, i),
  'gather planes': ({ x, i }) => gather(x, i),
  'gatherElements first': ({ x, i }) => gatherElements(x, i, 0),
  'gatherElements last': ({ x, i }) => gatherElements(x, i, -1),
  scatterRows: ({ u, i }) => scatterRows(u, i, [5, 4]),
  'scatterAdd first': ({ x, i, u }) => scatterAdd(x, i, u, 0),
  'scatterAdd last': ({ x, i, u }) => scatterAdd(x, i, u, -1),
  topK: ({ x }) => topK(x, 3).values,
  'topK indices': ({ x, y }) => gatherElements(y, topK(x, 3).indices, 1),
  averagePool2d: ({ x }) => averagePool2d(x, [2, 3]),
  'averagePool2d padded': ({ x }) => averagePool2d(x, [3, 3], { stride: [1, 2], padding: [1, 1] }),
  maxPool2d: ({ x }) => maxPool2d(x, [2, 3]),
  'maxPool2d overlapping': ({ x }) => maxPool2d(x, [3, 3], { stride: [1, 2], padding: [1, 1] }),
  'maxPool2d dilated': ({ x }) => maxPool2d(x, [2, 2], { stride: [1, 1], dilation: [2, 2] }),
  crossEntropy: ({ logits, t, w }) => crossEntropy(logits, t, w),
  squaredError: ({ a, b }) => squaredError(a, b),
  detach: ({ x }) => mul(x, detach(x)),
  // Straight through: the value of floor(exp x) with the gradient of exp x.
  withGradient: ({ x }) => withGradient(floor(exp(x)), [x], (g) => [mul(g, exp(x))]),
};

/** A case as a program with outputs `value` and `d <input>` for every float input, all fed by input name and `seed`. */
export function caseProgram(name: string, dtype: 'float32' | 'float64' = 'float32'): Program {
  const { inputs, value, gradients: expected } = recorded[name];
  const tensors: Inputs = {};
  for (const [key, type] of Object.entries(inputs))
    tensors[key] = input(key, type.shape, type.dtype === 'float32' ? dtype : type.dtype);
  const y = cases[name](tensors);
  const wrt = Object.keys(expected);
  const derivatives = gradients(
    y,
    wrt.map((key) => tensors[key]),
    input('seed', value.shape, dtype),
  );
  return program({ value: y, ...Object.fromEntries(wrt.map((key, i) => [`d ${key}`, derivatives[i]])) });
}

/** The recorded inputs and seed that a program takes; `wide` keeps floats in float64, as reference arithmetic does. */
export function caseFeeds(name: string, p: Program, wide: boolean): Record<string, NDArray> {
  const { inputs, value, seed } = recorded[name];
  const all: Record<string, { dtype: DType; shape: number[]; data: number[] }> = {
    ...inputs,
    seed: { dtype: 'float32', shape: value.shape, data: seed },
  };
  const feed = ({ dtype, shape, data }: { dtype: DType; shape: number[]; data: number[] }): NDArray => {
    const stored = allocate(wide && dtype === 'float32' ? 'float64' : dtype, data.length);
    data.forEach((v, i) => {
      stored[i] = stored instanceof BigInt64Array ? BigInt(v) : v;
    });
    return { dtype, shape, data: stored };
  };
  return Object.fromEntries(p.inputs.map(({ name: key }) => [key, feed(all[key])]));
}
