import type { DType, NDArray } from './array.ts';
import { broadcastIndex, broadcastShapes } from './broadcast.ts';
import { filledWith, scalar } from './constant.ts';
import { erfFloat64 } from './erf.ts';
import { reference } from './evaluate-helpers.ts';
import { sumTo } from './reduce.ts';
import { apply, type Node, type Op, shapeError, type Tensor } from './tensor.ts';

interface Elementwise {
  onnx: string;
  compute: (...operands: number[]) => number;
  expression?: (...operands: string[]) => string;
  gradient?: (gradient: Tensor, operands: readonly Tensor[], output: Tensor) => (Tensor | undefined)[];
  result?: (inputs: readonly Tensor[]) => DType;
  check?: (inputs: readonly Tensor[]) => void;
  domain?: string;
}

function numeric(name: string, inputs: readonly Tensor[]): DType {
  const [{ dtype }] = inputs;
  if (inputs.some((t) => t.dtype !== dtype))
    throw shapeError(name, inputs, 'the types differ; cast one of them');
  return dtype;
}

function elementwiseOp(name: string, spec: Elementwise): Op {
  return {
    name,
    elementwise: true,
    infer: (inputs) => [
      {
        shape: broadcastShapes(name, inputs),
        dtype: spec.result ? spec.result(inputs) : numeric(name, inputs),
      },
    ],
    gradient:
      spec.gradient &&
      ((node, [g]) => (g ? reduceToInputs(spec.gradient!(g, node.inputs, node.outputs[0]), node) : [])),
    lower: (node, builder) => builder.emitFor(node, spec.onnx, {}, spec.domain),
    evaluate: (node, inputs) => [mapElements(node, inputs, spec.compute)],
    expression: spec.expression && ((operands) => spec.expression!(...operands)),
  };
}

/** Sums gradients over the axes along which their operand was broadcast. */
function reduceToInputs(gradients: readonly (Tensor | undefined)[], node: Node): (Tensor | undefined)[] {
  return gradients.map((g, i) => g && sumTo(g, node.inputs[i].shape));
}

function mapElements(node: Node, inputs: readonly NDArray[], compute: (...v: number[]) => number): NDArray {
  const { shape, dtype } = node.outputs[0];
  const indices = inputs.map((a) => broadcastIndex(a.shape, shape));
  const out = reference(dtype, shape);
  for (let i = 0; i < out.data.length; i++) {
    const value = compute(...inputs.map((a, k) => Number(a.data[indices[k](i)])));
    out.data[i] = out.data instanceof BigInt64Array ? BigInt(Math.trunc(value)) : value;
  }
  return out;
}

const unaryOps = {
  neg: elementwiseOp('neg', {
    onnx: 'Neg',
    compute: (x) => -x,
    expression: (x) => `(-${x})`,
    gradient: (g) => [neg(g)],
  }),
  abs: elementwiseOp('abs', {
    onnx: 'Abs',
    compute: Math.abs,
    expression: (x) => `Math.abs(${x})`,
    gradient: (g, [x]) => [mul(g, sign(x))],
  }),
  sign: elementwiseOp('sign', {
    onnx: 'Sign',
    compute: Math.sign,
    expression: (x) => `Math.sign(${x})`,
    gradient: () => [undefined],
  }),
  exp: elementwiseOp('exp', {
    onnx: 'Exp',
    compute: Math.exp,
    expression: (x) => `Math.exp(${x})`,
    gradient: (g, _, y) => [mul(g, y)],
  }),
  log: elementwiseOp('log', {
    onnx: 'Log',
    compute: Math.log,
    expression: (x) => `Math.log(${x})`,
    gradient: (g, [x]) => [div(g, x)],
  }),
  sqrt: elementwiseOp('sqrt', {
    onnx: 'Sqrt',
    compute: Math.sqrt,
    expression: (x) => `Math.sqrt(${x})`,
    gradient: (g, _, y) => [div(mul(g, 0.5), y)],
  }),
  tanh: elementwiseOp('tanh', {
    onnx: 'Tanh',
    compute: Math.tanh,
    expression: (x) => `Math.tanh(${x})`,
    gradient: (g, _, y) => [mul(g, sub(1, mul(y, y)))],
  }),
  sigmoid: elementwiseOp('sigmoid', {
    onnx: 'Sigmoid',
    compute: (x) => 1 / (1 + Math.exp(-x)),
    expression: (x) => `(1 / (1 + Math.exp(-${x})))`,
    gradient: (g, _, y) => [mul(g, mul(y, sub(1, y)))],
  }),
  erf: elementwiseOp('erf', {
    onnx: 'Erf',
    compute: erfFloat64,
    gradient: (g, [x]) => [mul(g, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI)))],
  }),
  sin: elementwiseOp('sin', {
    onnx: 'Sin',
    compute: Math.sin,
    expression: (x) => `Math.sin(${x})`,
    gradient: (g, [x]) => [mul(g, cos(x))],
  }),
  cos: elementwiseOp('cos', {
    onnx: 'Cos',
    compute: Math.cos,
    expression: (x) => `Math.cos(${x})`,
    gradient: (g, [x]) => [neg(mul(g, sin(x)))],
  }),
  floor: elementwiseOp('floor', {
    onnx: 'Floor',
    compute: Math.floor,
    expression: (x) => `Math.floor(${x})`,
    gradient: () => [undefined],
  }),
  relu: elementwiseOp('relu', {
    onnx: 'Relu',
    compute: (x) => Math.max(x, 0),
    expression: (x) => `Math.max(${x}, 0)`,
    gradient: (g, [x]) => [where(greater(x, 0), g, 0)],
  }),
  not: elementwiseOp('not', {
    onnx: 'Not',
    compute: (x) => (x ? 0 : 1),
    expression: (x) => `(!${x})`,
    result: () => 'bool',
  }),
};

const compare = (onnx: string, compute: (a: number, b: number) => boolean, operator: string) => ({
  onnx,
  compute: (a: number, b: number) => Number(compute(a, b)),
  expression: (a: string, b: string) => `(${a} ${operator} ${b})`,
  result: (inputs: readonly Tensor[]): DType => {
    numeric(onnx.toLowerCase(), inputs);
    return 'bool';
  },
});

const binaryOps = {
  add: elementwiseOp('add', {
    onnx: 'Add',
    compute: (a, b) => a + b,
    expression: (a, b) => `(${a} + ${b})`,
    gradient: (g) => [g, g],
  }),
  sub: elementwiseOp('sub', {
    onnx: 'Sub',
    compute: (a, b) => a - b,
    expression: (a, b) => `(${a} - ${b})`,
    gradient: (g) => [g, neg(g)],
  }),
  mul: elementwiseOp('mul', {
    onnx: 'Mul',
    compute: (a, b) => a * b,
    expression: (a, b) => `(${a} * ${b})`,
    gradient: (g, [a, b]) => [mul(g, b), mul(g, a)],
  }),
  div: elementwiseOp('div', {
    onnx: 'Div',
    compute: (a, b) => a / b,
    expression: (a, b) => `(${a} / ${b})`,
    gradient: (g, [, b], y) => {
      const ga = div(g, b);
      return [ga, neg(mul(ga, y))];
    },
  }),
  pow: elementwiseOp('pow', {
    onnx: 'Pow',
    compute: Math.pow,
    expression: (a, b) => `Math.pow(${a}, ${b})`,
    // The exponent's gradient exists for positive bases only.
    gradient: (g, [a, b], y) => [
      mul(g, mul(b, pow(a, sub(b, 1)))),
      filledWith(b) === undefined ? mul(g, mul(y, log(a))) : undefined,
    ],
  }),
  maximum: elementwiseOp('maximum', {
    onnx: 'Max',
    compute: Math.max,
    expression: (a, b) => `Math.max(${a}, ${b})`,
    gradient: (g, [a, b]) => [where(greater(b, a), 0, g), where(greater(b, a), g, 0)],
  }),
  minimum: elementwiseOp('minimum', {
    onnx: 'Min',
    compute: Math.min,
    expression: (a, b) => `Math.min(${a}, ${b})`,
    gradient: (g, [a, b]) => [where(greater(a, b), 0, g), where(greater(a, b), g, 0)],
  }),
  equal: elementwiseOp(
    'equal',
    // Loose: truth is 0 or 1 in memory and true or false inside a generated loop.
    compare('Equal', (a, b) => a === b, '=='),
  ),
  greater: elementwiseOp(
    'greater',
    compare('Greater', (a, b) => a > b, '>'),
  ),
  less: elementwiseOp(
    'less',
    compare('Less', (a, b) => a < b, '<'),
  ),
  greaterEqual: elementwiseOp(
    'greaterEqual',
    compare('GreaterOrEqual', (a, b) => a >= b, '>='),
  ),
  and: elementwiseOp('and', {
    onnx: 'And',
    compute: (a, b) => Number(a && b),
    expression: (a, b) => `(${a} && ${b})`,
    result: () => 'bool',
  }),
  or: elementwiseOp('or', {
    onnx: 'Or',
    compute: (a, b) => Number(a || b),
    expression: (a, b) => `(${a} || ${b})`,
    result: () => 'bool',
  }),
};

const whereOp = elementwiseOp('where', {
  onnx: 'Where',
  compute: (c, a, b) => (c ? a : b),
  expression: (c, a, b) => `(${c} ? ${a} : ${b})`,
  gradient: (g, [c]) => [undefined, where(c, g, 0), where(c, 0, g)],
  result: ([c, a, b]) => {
    if (c.dtype !== 'bool') throw shapeError('where', [c, a, b], 'the condition must be bool');
    return numeric('where', [a, b]);
  },
});

const castOp: Op = {
  name: 'cast',
  infer: ([x], a) => [{ shape: x.shape, dtype: a.to as DType }],
  gradient: (node, [g]) => [g && isFloat(node.inputs[0].dtype) ? cast(g, node.inputs[0].dtype) : undefined],
  lower: (node, builder) => builder.emitFor(node, 'Cast', { to: builder.typeCode(node.outputs[0].dtype) }),
  evaluate: (node, inputs) => [mapElements(node, inputs, conversion(node.outputs[0].dtype))],
};

/** What a cast does to a number: truth is being other than zero, integers drop the fraction. */
function conversion(to: DType): (x: number) => number {
  if (isFloat(to)) return (x) => x;
  return to === 'bool' ? (x) => Number(x !== 0) : Math.trunc;
}

function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float64';
}

/** A tensor, or a number that takes the other operand's type. */
export type Operand = Tensor | number;

function toTensor(x: Operand, like: Operand): Tensor {
  return typeof x === 'number' ? scalar(x, typeof like === 'number' ? 'float32' : like.dtype) : x;
}

function binary(op: Op): (a: Operand, b: Operand) => Tensor {
  return (a, b) => apply(op, [toTensor(a, b), toTensor(b, a)])[0];
}

function unary(op: Op): (x: Tensor) => Tensor {
  return (x) => apply(op, [x])[0];
}

export const neg = unary(unaryOps.neg);
export const abs = unary(unaryOps.abs);
/** −1, 0 or 1; its gradient is zero. */
export const sign = unary(unaryOps.sign);
export const exp = unary(unaryOps.exp);
export const log = unary(unaryOps.log);
export const sqrt = unary(unaryOps.sqrt);
export const tanh = unary(unaryOps.tanh);
export const sigmoid = unary(unaryOps.sigmoid);
export const erf = unary(unaryOps.erf);
export const sin = unary(unaryOps.sin);
export const cos = unary(unaryOps.cos);
export const floor = unary(unaryOps.floor);
/** max(x, 0); its gradient at 0 is 0. */
export const relu = unary(unaryOps.relu);
export const not = unary(unaryOps.not);
export const add = binary(binaryOps.add);
export const sub = binary(binaryOps.sub);
export const mul = binary(binaryOps.mul);
export const div = binary(binaryOps.div);
export const pow = binary(binaryOps.pow);
/** The larger operand; where they are equal the gradient goes to the first, as in a clamp. */
export const maximum = binary(binaryOps.maximum);
/** The smaller operand; where they are equal the gradient goes to the first, as in a clamp. */
export const minimum = binary(binaryOps.minimum);
export const equal = binary(binaryOps.equal);
export const greater = binary(binaryOps.greater);
export const less = binary(binaryOps.less);
export const greaterEqual = binary(binaryOps.greaterEqual);
export const and = binary(binaryOps.and);
export const or = binary(binaryOps.or);

/** `a` where the condition holds, `b` elsewhere; broadcasts. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  return apply(whereOp, [condition, toTensor(a, b), toTensor(b, a)])[0];
}

export function cast(x: Tensor, to: DType): Tensor {
  return x.dtype === to ? x : apply(castOp, [x], { to })[0];
}

export function square(x: Tensor): Tensor {
  return mul(x, x);
}
