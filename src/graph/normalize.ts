import { type NDArray, sizeOf } from './array.ts';
import { add, div, exp, mul, sqrt, sub } from './elementwise.ts';
import { reference } from './evaluate-helpers.ts';
import { asMatmul, matmul } from './matmul.ts';
import { mean, sum } from './reduce.ts';
import { expand, reshape, transpose } from './shape.ts';
import { apply, type Node, type Op, rank, sameShape, shapeError, type Tensor } from './tensor.ts';

function rows(x: NDArray, visit: (offset: number, width: number) => void): void {
  const width = x.shape[x.shape.length - 1];
  for (let offset = 0; offset < sizeOf(x.shape); offset += width) visit(offset, width);
}

function logSumExp(x: NDArray, offset: number, width: number): number {
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < width; i++) top = Math.max(top, Number(x.data[offset + i]));
  let total = 0;
  for (let i = 0; i < width; i++) total += Math.exp(Number(x.data[offset + i]) - top);
  return top + Math.log(total);
}

/**
 * Σⱼ yᵢⱼ gᵢⱼ as [..., 1]. Where g is a product A B, as behind attention, these are the rows' dot products of A and y Bᵀ,
 * which is what attention gave: nothing as large as y is made (Dao et al. 2022, FlashAttention, Appendix B.2).
 */
function rowDots(y: Tensor, g: Tensor): Tensor {
  const { node } = g;
  const [a, b] = node.inputs;
  const width = lastOf(y);
  if (node.op.name === 'reshape' && lastOf(a) === width)
    return reshape(rowDots(reshape(y, a.shape), a), [...y.shape.slice(0, -1), 1]);
  const product = asMatmul(g);
  if (!product || product.transA || lastOf(a) > width) return sum(mul(y, g), -1, true);
  return dots(a, matmul(y, b, { transB: !product.transB, alpha: product.alpha }));
}

/** Rows' dot products as [..., 1], in the layout that `a` was made in: there the other is held already. */
function dots(a: Tensor, b: Tensor): Tensor {
  const { op, inputs, attributes } = a.node;
  const last = rank(a) - 1;
  if (op.name === 'reshape' && lastOf(inputs[0]) === lastOf(a))
    return reshape(dots(inputs[0], reshape(b, inputs[0].shape)), [...a.shape.slice(0, -1), 1]);
  if (op.name !== 'transpose') return sum(mul(a, b), -1, true);
  const perm = attributes.perm as readonly number[];
  if (perm[last] !== last) return sum(mul(a, b), -1, true);
  const back = perm.map((_, i) => perm.indexOf(i));
  return transpose(dots(inputs[0], transpose(b, back)), perm);
}

function lastOf({ shape }: Tensor): number {
  return shape[shape.length - 1];
}

const softmaxOp: Op = {
  name: 'softmax',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  gradient: (node, [g]) => {
    if (!g) return [];
    const y = node.outputs[0];
    return [mul(y, sub(g, rowDots(y, g)))];
  },
  lower: (node, builder) => builder.emitFor(node, 'Softmax', { axis: -1 }),
  evaluate: (_node, [x]) => {
    const out = reference(x.dtype, x.shape);
    rows(x, (o, w) => {
      const shift = logSumExp(x, o, w);
      for (let i = 0; i < w; i++) out.data[o + i] = Math.exp(Number(x.data[o + i]) - shift);
    });
    return [out];
  },
};

/** Softmax over the last axis. */
export function softmax(x: Tensor): Tensor {
  return apply(softmaxOp, [x])[0];
}

const logSoftmaxOp: Op = {
  name: 'logSoftmax',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  gradient: (node, [g]) => [g && sub(g, mul(exp(node.outputs[0]), sum(g, -1, true)))],
  lower: (node, builder) => builder.emitFor(node, 'LogSoftmax', { axis: -1 }),
  evaluate: (_node, [x]) => {
    const out = reference(x.dtype, x.shape);
    rows(x, (o, w) => {
      const shift = logSumExp(x, o, w);
      for (let i = 0; i < w; i++) out.data[o + i] = Number(x.data[o + i]) - shift;
    });
    return [out];
  },
};

/** log softmax over the last axis. */
export function logSoftmax(x: Tensor): Tensor {
  return apply(logSoftmaxOp, [x])[0];
}

function normalizedTypes(name: string, inputs: readonly Tensor[], statistics: number) {
  const [x, ...vectors] = inputs;
  const width = x.shape[rank(x) - 1];
  for (const v of vectors)
    if (!sameShape(v.shape, [width])) throw shapeError(name, inputs, `scale and bias must be [${width}]`);
  const small = { shape: [...x.shape.slice(0, -1), 1], dtype: x.dtype };
  return [{ shape: x.shape, dtype: x.dtype }, ...Array.from({ length: statistics }, () => small)];
}

function normalizeRows(node: Node, [x, weight, bias]: readonly NDArray[], centred: boolean): NDArray[] {
  const epsilon = node.attributes.epsilon as number;
  const [y, ...statistics] = node.outputs.map((t) => reference(t.dtype, t.shape));
  rows(x, (o, w) => {
    let average = 0;
    if (centred) for (let i = 0; i < w; i++) average += Number(x.data[o + i]) / w;
    let variance = 0;
    for (let i = 0; i < w; i++) variance += (Number(x.data[o + i]) - average) ** 2 / w;
    const inverse = 1 / Math.sqrt(variance + epsilon);
    for (let i = 0; i < w; i++)
      y.data[o + i] =
        (Number(x.data[o + i]) - average) * inverse * Number(weight.data[i]) +
        (bias ? Number(bias.data[i]) : 0);
    if (!centred) return;
    statistics[0].data[o / w] = average;
    statistics[1].data[o / w] = inverse;
  });
  return [y, ...statistics];
}

/** Gradient of x from that of 1/σ, which gradients of gradients ask for. */
function inverseGradient(g: Tensor, normalized: Tensor, inverse: Tensor): Tensor {
  const width = normalized.shape[rank(normalized) - 1];
  return mul(normalized, mul(g, mul(mul(inverse, inverse), -1 / width)));
}

function total(gradients: readonly (Tensor | undefined)[]): Tensor | undefined {
  const present = gradients.filter((g) => g !== undefined);
  return present.length > 0 ? present.reduce(add) : undefined;
}

const layerNormOp: Op = {
  name: 'layerNorm',
  infer: (inputs) => normalizedTypes('layerNorm', inputs, 2),
  gradient: (node, [g, gAverage, gInverse]) => {
    const [x, weight] = node.inputs;
    const [, average, inverse] = node.outputs;
    const normalized = mul(sub(x, average), inverse);
    const statistics = [
      gAverage && expand(mul(gAverage, 1 / x.shape[rank(x) - 1]), x.shape),
      gInverse && inverseGradient(gInverse, normalized, inverse),
    ];
    if (!g) return [total(statistics)];
    const gw = mul(g, weight);
    const inner = sub(sub(gw, mean(gw, -1, true)), mul(normalized, mean(mul(gw, normalized), -1, true)));
    const leading = x.shape.slice(0, -1).map((_, i) => i);
    return [total([mul(inner, inverse), ...statistics]), sum(mul(g, normalized), leading), sum(g, leading)];
  },
  lower: (node, builder) =>
    builder.emitFor(node, 'LayerNormalization', {
      axis: -1,
      epsilon: { float: node.attributes.epsilon as number },
    }),
  evaluate: (node, inputs) => normalizeRows(node, inputs, true),
};

/** Layer normalization over the last axis: (x − mean)/√(variance + ε) ∘ weight + bias. */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: number): Tensor {
  return apply(layerNormOp, [x, weight, bias], { epsilon })[0];
}

const rmsNormOp: Op = {
  name: 'rmsNorm',
  infer: (inputs) => normalizedTypes('rmsNorm', inputs, 0),
  gradient: (node, [g]) => {
    if (!g) return [];
    const [x, weight] = node.inputs;
    // The kernel's own second output, 1/rms, is left unwritten by ONNX Runtime's WebGPU provider.
    const inverse = div(1, sqrt(add(mean(mul(x, x), -1, true), node.attributes.epsilon as number)));
    const normalized = mul(x, inverse);
    const gw = mul(g, weight);
    const inner = sub(gw, mul(normalized, mean(mul(gw, normalized), -1, true)));
    const leading = x.shape.slice(0, -1).map((_, i) => i);
    return [mul(inner, inverse), sum(mul(g, normalized), leading)];
  },
  // The operator lives in the default domain of ONNX Runtime.
  lower: (node, builder) =>
    builder.emitFor(node, 'SimplifiedLayerNormalization', {
      axis: -1,
      epsilon: { float: node.attributes.epsilon as number },
      stash_type: 1,
    }),
  evaluate: (node, inputs) => normalizeRows(node, inputs, false),
};

/** Root-mean-square normalization over the last axis: x/√(mean(x²) + ε) ∘ weight. */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  return apply(rmsNormOp, [x, weight], { epsilon })[0];
}

/** Scales rows to unit 2-norm; ε guards the zero row, where the gradient stays finite. */
export function l2Normalize(x: Tensor, epsilon = 1e-12): Tensor {
  return div(x, sqrt(add(sum(mul(x, x), -1, true), epsilon)));
}
