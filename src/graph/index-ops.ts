import { type NDArray, type Shape, sizeOf } from './array.ts';
import { fill, filledWith } from './constant.ts';
import { cast, mul } from './elementwise.ts';
import { coordinates, dot, reference, strides } from './evaluate-helpers.ts';
import { expand, reshape, slice } from './shape.ts';
import { apply, normalizeAxis, type Op, rank, sameShape, shapeError, size, type Tensor } from './tensor.ts';

function requireIndices(op: string, inputs: readonly Tensor[], indices: Tensor): void {
  if (indices.dtype !== 'int64') throw shapeError(op, inputs, 'indices must be int64');
}

const gatherOp: Op = {
  name: 'gather',
  infer: (inputs) => {
    const [table, indices] = inputs;
    requireIndices('gather', inputs, indices);
    if (rank(table) < 1) throw shapeError('gather', inputs, 'the table needs rows');
    return [{ shape: [...indices.shape, ...table.shape.slice(1)], dtype: table.dtype }];
  },
  gradient: (node, [g]) => {
    const [table, indices] = node.inputs;
    return [g && scatterRows(g, indices, table.shape)];
  },
  lower: (node, builder) => builder.emitFor(node, 'Gather', { axis: 0 }),
  evaluate: (node, [table, indices]) => {
    const out = reference(table.dtype, node.outputs[0].shape);
    const width = sizeOf(table.shape.slice(1));
    for (let i = 0; i < indices.data.length; i++)
      for (let j = 0; j < width; j++)
        out.data[i * width + j] = table.data[Number(indices.data[i]) * width + j];
    return [out];
  },
};

/** Rows of `table` (first axis) at `indices` (int64, any shape). */
export function gather(table: Tensor, indices: Tensor): Tensor {
  return apply(gatherOp, [table, indices])[0];
}

/**
 * Zeros of `shape` with rows of `updates` added at `indices` (its leading axes). Rows may repeat: ScatterND races on
 * repeated rows at two threads, so this goes through ScatterElements, which does not.
 */
export function scatterRows(updates: Tensor, indices: Tensor, shape: Shape): Tensor {
  const width = sizeOf(shape.slice(1));
  const rows = size(indices);
  const column = reshape(indices, [rows, 1]);
  const at = expand(column, [rows, width]);
  // ONNX Runtime would compute zeros once, when it compiles, and hold them ever after: as many as a vocabulary has weights.
  const zero = cast(mul(slice(column, 0, 0, 1), 0), updates.dtype);
  const zeros = expand(zero, [shape[0], width]);
  return reshape(scatterAdd(zeros, at, reshape(updates, [rows, width]), 0), shape);
}

/** Whether every element of a tensor is known to be zero: also of those that are zero only when the program runs. */
export function isZero(t: Tensor): boolean {
  if (filledWith(t) === 0) return true;
  const { op, inputs } = t.node;
  if (['expand', 'cast', 'reshape'].includes(op.name)) return isZero(inputs[0]);
  // A number that is not finite times zero is no zero; integers are finite.
  return op.name === 'mul' && t.dtype === 'int64' && inputs.some(isZero);
}

const gatherElementsOp: Op = {
  name: 'gatherElements',
  infer: (inputs) => {
    const [x, indices] = inputs;
    requireIndices('gatherElements', inputs, indices);
    if (rank(x) !== rank(indices)) throw shapeError('gatherElements', inputs, 'both need as many axes');
    return [{ shape: indices.shape, dtype: x.dtype }];
  },
  gradient: (node, [g]) => {
    const [x, indices] = node.inputs;
    return [g && scatterAdd(fill(x.shape, 0, x.dtype), indices, g, node.attributes.axis as number)];
  },
  lower: (node, builder) => builder.emitFor(node, 'GatherElements', { axis: node.attributes.axis as number }),
  evaluate: (node, [x, indices]) => {
    const out = reference(x.dtype, indices.shape);
    visitElements(x.shape, indices, node.attributes.axis as number, (from, flat) => {
      out.data[flat] = x.data[from];
    });
    return [out];
  },
};

/** out[i][j] = x[i][indices[i][j]] along `axis`, as PyTorch's gather. */
export function gatherElements(x: Tensor, indices: Tensor, axis: number): Tensor {
  return apply(gatherElementsOp, [x, indices], { axis: normalizeAxis('gatherElements', axis, x) })[0];
}

const scatterAddOp: Op = {
  name: 'scatterAdd',
  infer: (inputs) => {
    const [x, indices, updates] = inputs;
    requireIndices('scatterAdd', inputs, indices);
    if (rank(x) !== rank(indices) || !sameShape(indices.shape, updates.shape))
      throw shapeError(
        'scatterAdd',
        inputs,
        'indices and updates must have one shape, with as many axes as the target',
      );
    return [{ shape: x.shape, dtype: x.dtype }];
  },
  gradient: (node, [g]) => [
    g,
    undefined,
    g && gatherElements(g, node.inputs[1], node.attributes.axis as number),
  ],
  lower: (node, builder) => {
    const name = (i: number) => builder.name(node.inputs[i]);
    const attributes = { axis: node.attributes.axis as number, reduction: 'add' };
    builder.bind(
      node.outputs[0],
      builder.emit('ScatterElements', [name(0), name(1), name(2)], attributes)[0],
    );
  },
  evaluate: (node, [x, indices, updates]) => {
    const out = reference(x.dtype, x.shape);
    for (let i = 0; i < x.data.length; i++) out.data[i] = x.data[i];
    visitElements(x.shape, indices, node.attributes.axis as number, (to, flat) => {
      out.data[to] = Number(out.data[to]) + Number(updates.data[flat]);
    });
    return [out];
  },
};

function visitElements(
  shape: Shape,
  indices: NDArray,
  axis: number,
  visit: (at: number, flat: number) => void,
): void {
  const s = strides(shape);
  coordinates(indices.shape, (c, flat) => {
    visit(dot(c, s) + (Number(indices.data[flat]) - c[axis]) * s[axis], flat);
  });
}

/** x with updates added at x[i][indices[i][j]] along `axis`; indices may repeat. */
export function scatterAdd(x: Tensor, indices: Tensor, updates: Tensor, axis: number): Tensor {
  return apply(scatterAddOp, [x, indices, updates], { axis: normalizeAxis('scatterAdd', axis, x) })[0];
}

const topKOp: Op = {
  name: 'topK',
  infer: ([x], a) => {
    const k = a.k as number;
    if (k < 1 || k > x.shape[rank(x) - 1])
      throw shapeError('topK', [x], `the last axis does not have ${k} elements`);
    const shape = [...x.shape.slice(0, -1), k];
    return [
      { shape, dtype: x.dtype },
      { shape, dtype: 'int64' },
    ];
  },
  gradient: (node, [g]) => {
    const [x] = node.inputs;
    return [g && scatterAdd(fill(x.shape, 0, x.dtype), node.outputs[1], g, rank(x) - 1)];
  },
  lower: (node, builder) =>
    builder.emitFor(node, 'TopK', { axis: -1, largest: 1, sorted: 1 }, '', [
      builder.ints([node.attributes.k as number]),
    ]),
  evaluate: (node, [x]) => {
    const k = node.attributes.k as number;
    const [values, indices] = node.outputs.map((t) => reference(t.dtype, t.shape));
    const width = x.shape[x.shape.length - 1];
    for (let row = 0; row < x.data.length / width; row++) {
      const order = Array.from({ length: width }, (_, i) => i).sort(
        (a, b) => Number(x.data[row * width + b]) - Number(x.data[row * width + a]) || a - b,
      );
      for (let i = 0; i < k; i++) {
        values.data[row * k + i] = x.data[row * width + order[i]];
        indices.data[row * k + i] = BigInt(order[i]);
      }
    }
    return [values, indices];
  },
};

/** The k largest elements of the last axis, descending, and their positions (int64). */
export function topK(x: Tensor, k: number): { values: Tensor; indices: Tensor } {
  const [values, indices] = apply(topKOp, [x], { k });
  return { values, indices };
}
