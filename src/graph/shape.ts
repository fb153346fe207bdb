import { type Shape, sizeOf } from './array.ts';
import { fill } from './constant.ts';
import { coordinates, dot, rearrange, reference, strides } from './evaluate-helpers.ts';
import { sumTo } from './reduce.ts';
import { apply, normalizeAxis, type Op, rank, sameShape, shapeError, size, type Tensor } from './tensor.ts';

const reshapeOp: Op = {
  name: 'reshape',
  infer: ([x], a) => {
    const shape = a.shape as Shape;
    if (sizeOf(shape) !== size(x))
      throw shapeError('reshape', [x], `[${shape}] holds ${sizeOf(shape)} elements, not ${size(x)}`);
    return [{ shape, dtype: x.dtype }];
  },
  gradient: (node, [g]) => [g && reshape(g, node.inputs[0].shape)],
  lower: (node, builder) => builder.emitFor(node, 'Reshape', {}, '', [builder.ints(node.outputs[0].shape)]),
  evaluate: (node, [x]) => [{ ...x, shape: node.outputs[0].shape }],
};

/** The same elements in another shape; one dimension may be −1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
  const resolved = shape.map((d) => (d === -1 ? size(x) / known : d));
  return sameShape(resolved, x.shape) ? x : apply(reshapeOp, [x], { shape: resolved })[0];
}

const transposeOp: Op = {
  name: 'transpose',
  infer: ([x], a) => {
    const perm = a.perm as number[];
    if (
      perm.length !== rank(x) ||
      new Set(perm).size !== perm.length ||
      perm.some((p) => p < 0 || p >= rank(x))
    )
      throw shapeError('transpose', [x], `[${perm}] is no permutation of its axes`);
    return [{ shape: perm.map((p) => x.shape[p]), dtype: x.dtype }];
  },
  gradient: (node, [g]) => {
    const perm = node.attributes.perm as number[];
    return [
      g &&
        transpose(
          g,
          perm.map((_, i) => perm.indexOf(i)),
        ),
    ];
  },
  lower: (node, builder) => builder.emitFor(node, 'Transpose', { perm: node.attributes.perm as number[] }),
  evaluate: (node, [x]) => {
    const s = strides(x.shape);
    const order = (node.attributes.perm as number[]).map((p) => s[p]);
    return [rearrange(x, node.outputs[0].shape, (c) => dot(c, order))];
  },
};

/** Permutes the axes; without `perm`, swaps the last two. */
export function transpose(x: Tensor, perm?: readonly number[]): Tensor {
  const n = rank(x);
  const p = perm ?? x.shape.map((_, i) => (i === n - 1 ? n - 2 : i === n - 2 ? n - 1 : i));
  return p.every((v, i) => v === i) && p.length === n ? x : apply(transposeOp, [x], { perm: [...p] })[0];
}

const expandOp: Op = {
  name: 'expand',
  infer: ([x], a) => {
    const shape = a.shape as Shape;
    const offset = shape.length - rank(x);
    if (offset < 0 || x.shape.some((d, i) => d !== 1 && d !== shape[i + offset]))
      throw shapeError('expand', [x], `it does not broadcast to [${shape}]`);
    return [{ shape, dtype: x.dtype }];
  },
  gradient: (node, [g]) => [g && sumTo(g, node.inputs[0].shape)],
  lower: (node, builder) => builder.emitFor(node, 'Expand', {}, '', [builder.ints(node.outputs[0].shape)]),
  evaluate: (node, [x]) => {
    const shape = node.outputs[0].shape;
    const offset = shape.length - x.shape.length;
    const s = strides(x.shape);
    return [
      rearrange(x, shape, (c) => {
        let at = 0;
        for (let i = 0; i < s.length; i++) if (x.shape[i] !== 1) at += c[i + offset] * s[i];
        return at;
      }),
    ];
  },
};

/** Broadcasts to `shape`. */
export function expand(x: Tensor, shape: Shape): Tensor {
  return sameShape(x.shape, shape) ? x : apply(expandOp, [x], { shape: [...shape] })[0];
}

const sliceOp: Op = {
  name: 'slice',
  infer: ([x], a) => {
    const [axis, start, end] = [a.axis as number, a.start as number, a.end as number];
    if (start < 0 || end > x.shape[axis] || start > end)
      throw shapeError('slice', [x], `${start}..${end} lies outside axis ${axis}`);
    return [{ shape: x.shape.map((d, i) => (i === axis ? end - start : d)), dtype: x.dtype }];
  },
  gradient: (node, [g]) => {
    const { axis, start, end } = node.attributes as { axis: number; start: number; end: number };
    return [g && pad(g, axis, start, node.inputs[0].shape[axis] - end)];
  },
  lower: (node, builder) => {
    const { axis, start, end } = node.attributes as { axis: number; start: number; end: number };
    builder.emitFor(node, 'Slice', {}, '', [
      builder.ints([start]),
      builder.ints([end]),
      builder.ints([axis]),
    ]);
  },
  evaluate: (node, [x]) => {
    const { axis, start } = node.attributes as { axis: number; start: number };
    const s = strides(x.shape);
    return [rearrange(x, node.outputs[0].shape, (c) => dot(c, s) + start * s[axis])];
  },
};

/** Elements `start` to `end` (exclusive) of one axis. */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  const a = normalizeAxis('slice', axis, x);
  if (start === 0 && end === x.shape[a]) return x;
  return apply(sliceOp, [x], { axis: a, start, end })[0];
}

const splitOp: Op = {
  name: 'split',
  infer: ([x], a) => {
    const [axis, parts] = [a.axis as number, a.parts as number];
    const length = x.shape[axis] / parts;
    if (!Number.isInteger(length))
      throw shapeError('split', [x], `axis ${axis} does not divide into ${parts} parts`);
    const shape = x.shape.map((d, i) => (i === axis ? length : d));
    return Array.from({ length: parts }, () => ({ shape, dtype: x.dtype }));
  },
  // One concatenation, where slices would each be padded with zeros and added up.
  gradient: (node, gradients) => {
    if (gradients.every((g) => g === undefined)) return [];
    const whole = node.outputs.map((t, i) => gradients[i] ?? fill(t.shape, 0, t.dtype));
    return [concat(whole, node.attributes.axis as number)];
  },
  lower: (node, builder) => {
    const { axis, parts } = node.attributes as { axis: number; parts: number };
    builder.emitFor(node, 'Split', { axis, num_outputs: parts });
  },
  evaluate: (node, [x]) => {
    const axis = node.attributes.axis as number;
    const s = strides(x.shape);
    return node.outputs.map((t, i) => rearrange(x, t.shape, (c) => dot(c, s) + i * t.shape[axis] * s[axis]));
  },
};

/** Splits an axis into equal parts. */
export function split(x: Tensor, axis: number, parts: number): Tensor[] {
  if (parts === 1) return [x];
  return apply(splitOp, [x], { axis: normalizeAxis('split', axis, x), parts });
}

const concatOp: Op = {
  name: 'concat',
  infer: (inputs, a) => {
    const axis = a.axis as number;
    const [first] = inputs;
    for (const t of inputs)
      if (
        t.dtype !== first.dtype ||
        rank(t) !== rank(first) ||
        t.shape.some((d, i) => i !== axis && d !== first.shape[i])
      )
        throw shapeError('concat', inputs, `all axes but ${axis} must agree`);
    const length = inputs.reduce((n, t) => n + t.shape[axis], 0);
    return [{ shape: first.shape.map((d, i) => (i === axis ? length : d)), dtype: first.dtype }];
  },
  gradient: (node, [g]) => {
    const axis = node.attributes.axis as number;
    let start = 0;
    return node.inputs.map((t) => {
      const from = start;
      start += t.shape[axis];
      return g && slice(g, axis, from, start);
    });
  },
  lower: (node, builder) => builder.emitFor(node, 'Concat', { axis: node.attributes.axis as number }),
  evaluate: (node, inputs) => {
    const axis = node.attributes.axis as number;
    const out = reference(node.outputs[0].dtype, node.outputs[0].shape);
    const s = strides(out.shape);
    let start = 0;
    for (const x of inputs) {
      const base = start * s[axis];
      coordinates(x.shape, (c, flat) => {
        out.data[dot(c, s) + base] = x.data[flat];
      });
      start += x.shape[axis];
    }
    return [out];
  },
};

/** Joins tensors along an axis. */
export function concat(inputs: readonly Tensor[], axis: number): Tensor {
  return inputs.length === 1
    ? inputs[0]
    : apply(concatOp, inputs, { axis: normalizeAxis('concat', axis, inputs[0]) })[0];
}

/** Adds zeros before and after along one axis. */
export function pad(x: Tensor, axis: number, before: number, after: number): Tensor {
  const a = normalizeAxis('pad', axis, x);
  const zerosOf = (length: number) =>
    fill(
      x.shape.map((d, i) => (i === a ? length : d)),
      0,
      x.dtype,
    );
  return concat([...(before ? [zerosOf(before)] : []), x, ...(after ? [zerosOf(after)] : [])], a);
}

/** Removes an axis of length one, or adds one. */
export function squeeze(x: Tensor, axis: number): Tensor {
  const a = normalizeAxis('squeeze', axis, x);
  return reshape(
    x,
    x.shape.filter((_, i) => i !== a),
  );
}

export function unsqueeze(x: Tensor, axis: number): Tensor {
  const a = axis < 0 ? axis + rank(x) + 1 : axis;
  return reshape(x, [...x.shape.slice(0, a), 1, ...x.shape.slice(a)]);
}
