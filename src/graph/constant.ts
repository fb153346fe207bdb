import type { DType, NDArray, Shape } from './array.ts';
import { reference } from './evaluate-helpers.ts';
import { apply, type Op, type Tensor } from './tensor.ts';

const constantOp: Op = {
  name: 'constant',
  infer: (_inputs, a) => {
    const value = a.value as NDArray;
    return [{ shape: value.shape, dtype: value.dtype }];
  },
  lower: (node, builder) => builder.bind(node.outputs[0], builder.constant(node.attributes.value as NDArray)),
  evaluate: (node) => [node.attributes.value as NDArray],
};

const fillOp: Op = {
  name: 'fill',
  infer: (_inputs, a) => [{ shape: a.shape as Shape, dtype: a.dtype as DType }],
  lower: (node, builder) => {
    const { shape, dtype } = node.outputs[0];
    const value = builder.scalar(node.attributes.value as number, dtype);
    if (shape.length === 0) builder.bind(node.outputs[0], value);
    else builder.bind(node.outputs[0], builder.emit('Expand', [value, builder.ints(shape)])[0]);
  },
  evaluate: (node) => {
    const { shape, dtype } = node.outputs[0];
    const out = reference(dtype, shape);
    const value = node.attributes.value as number;
    out.data.fill((out.data instanceof BigInt64Array ? BigInt(value) : value) as never);
    return [out];
  },
  expression: (_operands, a) => (Object.is(a.value, -0) ? '-0' : `${a.value}`),
  elementwise: true,
};

/** A tensor with values known while tracing. */
export function constant(value: NDArray): Tensor {
  return apply(constantOp, [], { value })[0];
}

/** A tensor filled with one value. Costs nothing in the file. */
export function fill(shape: Shape, value: number, dtype: DType = 'float32'): Tensor {
  return apply(fillOp, [], { shape, value, dtype })[0];
}

export function scalar(value: number, dtype: DType = 'float32'): Tensor {
  return fill([], value, dtype);
}

/** The value of a tensor that holds one number known while tracing, else undefined. */
export function filledWith(tensor: Tensor): number | undefined {
  return tensor.node.op === fillOp ? (tensor.node.attributes.value as number) : undefined;
}

/** The array of a constant tensor, else undefined. */
export function constantValue(tensor: Tensor): NDArray | undefined {
  return tensor.node.op === constantOp ? (tensor.node.attributes.value as NDArray) : undefined;
}
