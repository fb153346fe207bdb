export * from './activations.ts';
export * from './array.ts';
export { constant, constantValue, fill, filledWith, scalar } from './constant.ts';
export { averagePool2d, conv2d, maxPool2d, type Window } from './convolution.ts';
export { detach, gradients, withGradient } from './differentiate.ts';
export {
  abs,
  add,
  and,
  cast,
  cos,
  div,
  equal,
  erf,
  exp,
  floor,
  greater,
  greaterEqual,
  less,
  log,
  maximum,
  minimum,
  mul,
  neg,
  not,
  type Operand,
  or,
  pow,
  relu,
  sigmoid,
  sign,
  sin,
  sqrt,
  square,
  sub,
  tanh,
  where,
} from './elementwise.ts';
export { evaluate } from './evaluate.ts';
export { gather, gatherElements, scatterAdd, scatterRows, topK } from './index-ops.ts';
export { linearCrossEntropy } from './linear-cross-entropy.ts';
export { crossEntropy, squaredError } from './loss.ts';
export { linear, matmul, scale } from './matmul.ts';
export { l2Normalize, layerNorm, logSoftmax, rmsNorm, softmax } from './normalize.ts';
export { type Serialized, toOnnx } from './onnx.ts';
export { type InputSpec, input, isInput, type Program, program } from './program.ts';
export { max, mean, sum, sumTo } from './reduce.ts';
export { runOrder } from './run-order.ts';
export { concat, expand, pad, reshape, slice, split, squeeze, transpose, unsqueeze } from './shape.ts';
export { simplify } from './simplify.ts';
export { describe, rank, size, type Tensor } from './tensor.ts';
