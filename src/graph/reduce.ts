import { type NDArray, type Shape, sizeOf } from './array.ts';
import { cast, div, equal, mul, where } from './elementwise.ts';
import { coordinates, reference, strides } from './evaluate-helpers.ts';
import { expand, reshape } from './shape.ts';
import { apply, type Node, normalizeAxis, type Op, rank, sameShape, type Tensor } from './tensor.ts';

function reducedShape(x: Tensor, axes: readonly number[], keep: boolean): Shape {
  return keep
    ? x.shape.map((d, i) => (axes.includes(i) ? 1 : d))
    : x.shape.filter((_, i) => !axes.includes(i));
}

/** The gradient or output of a reduction with its reduced axes put back as ones. */
function withOnes(t: Tensor, node: Node): Tensor {
  return reshape(t, reducedShape(node.inputs[0], node.attributes.axes as number[], true));
}

function fold(
  node: Node,
  [x]: readonly NDArray[],
  start: number,
  step: (a: number, b: number) => number,
): NDArray {
  const axes = node.attributes.axes as number[];
  const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
  const to = strides(kept).map((s, i) => (axes.includes(i) ? 0 : s));
  const out = reference(x.dtype, node.outputs[0].shape);
  const data = new Float64Array(sizeOf(kept)).fill(start);
  coordinates(x.shape, (c, flat) => {
    let at = 0;
    for (let i = 0; i < c.length; i++) at += c[i] * to[i];
    data[at] = step(data[at], Number(x.data[flat]));
  });
  for (let i = 0; i < data.length; i++)
    out.data[i] = out.data instanceof BigInt64Array ? BigInt(data[i]) : data[i];
  return out;
}

function reduction(
  name: string,
  onnx: string,
  gradient: (g: Tensor, node: Node) => Tensor,
  start: number,
  step: (a: number, b: number) => number,
): Op {
  return {
    name,
    infer: ([x], a) => [{ shape: reducedShape(x, a.axes as number[], a.keep as boolean), dtype: x.dtype }],
    gradient: (node, [g]) => [g && gradient(withOnes(g, node), node)],
    lower: (node, builder) => {
      const axes = builder.ints(node.attributes.axes as number[]);
      builder.emitFor(node, onnx, { keepdims: node.attributes.keep ? 1 : 0 }, '', [axes]);
    },
    evaluate: (node, inputs) => [fold(node, inputs, start, step)],
  };
}

const sumOp = reduction(
  'sum',
  'ReduceSum',
  (g, node) => expand(g, node.inputs[0].shape),
  0,
  (a, b) => a + b,
);

const maxOp = reduction(
  'max',
  'ReduceMax',
  (g, node) => {
    // Ties share the gradient, as in PyTorch's amax.
    const hit = equal(node.inputs[0], withOnes(node.outputs[0], node));
    const ones = where(hit, expand(g, node.inputs[0].shape), 0);
    const count = sum(cast(hit, g.dtype), node.attributes.axes as number[], true);
    return div(ones, count);
  },
  Number.NEGATIVE_INFINITY,
  Math.max,
);

function reduce(op: Op, x: Tensor, axes: number | readonly number[] | undefined, keep: boolean): Tensor {
  const list = axes === undefined ? x.shape.map((_, i) => i) : typeof axes === 'number' ? [axes] : [...axes];
  const normalized = list.map((a) => normalizeAxis(op.name, a, x)).sort((a, b) => a - b);
  return normalized.length === 0 ? x : apply(op, [x], { axes: normalized, keep })[0];
}

/** Sum over `axes` (all when absent); `keep` leaves them as ones. */
export function sum(x: Tensor, axes?: number | readonly number[], keep = false): Tensor {
  return reduce(sumOp, x, axes, keep);
}

/** Maximum over `axes`; ties share the gradient. */
export function max(x: Tensor, axes?: number | readonly number[], keep = false): Tensor {
  return reduce(maxOp, x, axes, keep);
}

/** Mean over `axes`. */
export function mean(x: Tensor, axes?: number | readonly number[], keep = false): Tensor {
  const total = sum(x, axes, keep);
  return mul(total, sizeOf(total.shape) / sizeOf(x.shape));
}

/** Sums a gradient over the axes along which an operand of `shape` was broadcast. */
export function sumTo(gradient: Tensor, shape: Shape): Tensor {
  if (sameShape(gradient.shape, shape)) return gradient;
  const offset = rank(gradient) - shape.length;
  const axes = gradient.shape
    .map((d, axis) => ({ d, axis }))
    .filter(({ d, axis }) => axis < offset || (shape[axis - offset] === 1 && d !== 1))
    .map(({ axis }) => axis);
  return reshape(sum(gradient, axes, true), shape);
}
