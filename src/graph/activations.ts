import { add, erf, exp, mul, neg, sigmoid, sub } from './elementwise.ts';
import { erfFloat64 } from './erf.ts';
import { reference } from './evaluate-helpers.ts';
import { apply, type Op, type Tensor } from './tensor.ts';

const TANH_SCALE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

/** An activation with a fused forward kernel in com.microsoft and a gradient composed from primitive operators. */
function fused(
  name: string,
  onnx: string,
  compute: (x: number) => number,
  derivative: (x: Tensor, y: Tensor) => Tensor,
  attributes: Record<string, { float: number }> = {},
): Op {
  return {
    name,
    elementwise: true,
    infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
    gradient: (node, [g]) => [g && mul(g, derivative(node.inputs[0], node.outputs[0]))],
    lower: (node, builder) => builder.emitFor(node, onnx, attributes, 'com.microsoft'),
    evaluate: (node, [x]) => {
      const out = reference(node.outputs[0].dtype, x.shape);
      for (let i = 0; i < x.data.length; i++) out.data[i] = compute(Number(x.data[i]));
      return [out];
    },
  };
}

const logistic = (x: number) => 1 / (1 + Math.exp(-x));

const siluOp = fused(
  'silu',
  'QuickGelu',
  (x) => x * logistic(x),
  (x, y) => {
    const s = sigmoid(x);
    return add(s, mul(y, sub(1, s)));
  },
  { alpha: { float: 1 } },
);

// 0.5 (1 + tanh u) = sigmoid(2u): one transcendental, and y is reused in the derivative.
const geluTanhOp = fused(
  'geluTanh',
  'FastGelu',
  (x) => x * logistic(2 * TANH_SCALE * (x + CUBIC * x ** 3)),
  (x, y) => {
    const squared = mul(x, x);
    const s = sigmoid(mul(x, add(mul(squared, 2 * TANH_SCALE * CUBIC), 2 * TANH_SCALE)));
    const inner = add(mul(squared, 6 * TANH_SCALE * CUBIC), 2 * TANH_SCALE);
    return add(s, mul(mul(y, sub(1, s)), inner));
  },
);

/** x σ(x), SiLU or swish. */
export function silu(x: Tensor): Tensor {
  return apply(siluOp, [x])[0];
}

/** GELU in the tanh approximation (`gelu_new`, `gelu_pytorch_tanh`). */
export function geluTanh(x: Tensor): Tensor {
  return apply(geluTanhOp, [x])[0];
}

/** Exact GELU, x Φ(x). */
export function gelu(x: Tensor): Tensor {
  return apply(geluOp, [x])[0];
}

const geluOp: Op = {
  name: 'gelu',
  elementwise: true,
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  gradient: (node, [g]) => {
    const [x] = node.inputs;
    const cumulative = add(mul(erf(mul(x, Math.SQRT1_2)), 0.5), 0.5);
    const density = mul(exp(neg(mul(mul(x, x), 0.5))), 1 / Math.sqrt(2 * Math.PI));
    return [g && mul(g, add(cumulative, mul(x, density)))];
  },
  lower: (node, builder) => builder.emitFor(node, 'Gelu', {}, 'com.microsoft'),
  evaluate: (node, [x]) => {
    const out = reference(node.outputs[0].dtype, x.shape);
    for (let i = 0; i < x.data.length; i++) {
      const v = Number(x.data[i]);
      out.data[i] = 0.5 * v * (1 + erfFloat64(v * Math.SQRT1_2));
    }
    return [out];
  },
};
