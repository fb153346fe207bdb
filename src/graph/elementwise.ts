import { type DType, type NDArray, type Shape, sizeOf } from './array.ts';
import { filledWith, scalar } from './constant.ts';
import { reference } from './evaluate-helpers.ts';
import { sumTo } from './reduce.ts';
import { apply, type Node, type Op, sameShape, shapeError, type Tensor } from './tensor.ts';

/** NumPy's broadcast of two shapes; throws `graph/shape` naming the operator and both shapes. */
export function broadcastShapes(op: string, inputs: readonly Tensor[]): Shape {
  const rank = Math.max(...inputs.map((t) => t.shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    let dim = 1;
    for (const t of inputs) {
      const d = t.shape[axis - rank + t.shape.length] ?? 1;
      if (d !== 1 && dim !== 1 && d !== dim)
        throw shapeError(op, inputs, `axis ${axis} has ${dim} and ${d} elements, which do not broadcast`);
      if (d !== 1) dim = d;
    }
    return dim;
  });
}

/** Flat source index in a tensor of `shape` for every flat index of the broadcast `target`. */
export function broadcastIndex(shape: Shape, target: Shape): (flat: number) => number {
  if (sizeOf(shape) === 1) return () => 0;
  if (sameShape(shape, target)) return (flat) => flat;
  const offset = target.length - shape.length;
  const strides = new Array<number>(target.length).fill(0);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1) strides[axis + offset] = stride;
    stride *= shape[axis];
  }
  return (flat) => {
    let index = 0;
    let rest = flat;
    for (let axis = target.length - 1; axis >= 0; axis--) {
      const d = target[axis];
      index += (rest % d) * strides[axis];
      rest = Math.floor(rest / d);
    }
    return index;
  };
}

interface Elementwise {
  onnx: string;
  arity: 1 | 2 | 3;
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
    arity: 1,
    compute: (x) => -x,
    expression: (x) => `(-${x})`,
    gradient: (g) => [neg(g)],
  }),
  abs: elementwiseOp('abs', {
    onnx: 'Abs',
    arity: 1,
    compute: Math.abs,
    expression: (x) => `Math.abs(${x})`,
    gradient: (g, [x]) => [mul(g, sign(x))],
  }),
  sign: elementwiseOp('sign', {
    onnx: 'Sign',
    arity: 1,
    compute: Math.sign,
    expression: (x) => `Math.sign(${x})`,
    gradient: () => [undefined],
  }),
  exp: elementwiseOp('exp', {
    onnx: 'Exp',
    arity: 1,
    compute: Math.exp,
    expression: (x) => `Math.exp(${x})`,
    gradient: (g, _, y) => [mul(g, y)],
  }),
  log: elementwiseOp('log', {
    onnx: 'Log',
    arity: 1,
    compute: Math.log,
    expression: (x) => `Math.log(${x})`,
    gradient: (g, [x]) => [div(g, x)],
  }),
  sqrt: elementwiseOp('sqrt', {
    onnx: 'Sqrt',
    arity: 1,
    compute: Math.sqrt,
    expression: (x) => `Math.sqrt(${x})`,
    gradient: (g, _, y) => [div(mul(g, 0.5), y)],
  }),
  tanh: elementwiseOp('tanh', {
    onnx: 'Tanh',
    arity: 1,
    compute: Math.tanh,
    expression: (x) => `Math.tanh(${x})`,
    gradient: (g, _, y) => [mul(g, sub(1, mul(y, y)))],
  }),
  sigmoid: elementwiseOp('sigmoid', {
    onnx: 'Sigmoid',
    arity: 1,
    compute: (x) => 1 / (1 + Math.exp(-x)),
    expression: (x) => `(1 / (1 + Math.exp(-${x})))`,
    gradient: (g, _, y) => [mul(g, mul(y, sub(1, y)))],
  }),
  erf: elementwiseOp('erf', {
    onnx: 'Erf',
    arity: 1,
    compute: erfFloat64,
    gradient: (g, [x]) => [mul(g, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI)))],
  }),
  sin: elementwiseOp('sin', {
    onnx: 'Sin',
    arity: 1,
    compute: Math.sin,
    expression: (x) => `Math.sin(${x})`,
    gradient: (g, [x]) => [mul(g, cos(x))],
  }),
  cos: elementwiseOp('cos', {
    onnx: 'Cos',
    arity: 1,
    compute: Math.cos,
    expression: (x) => `Math.cos(${x})`,
    gradient: (g, [x]) => [neg(mul(g, sin(x)))],
  }),
  floor: elementwiseOp('floor', {
    onnx: 'Floor',
    arity: 1,
    compute: Math.floor,
    expression: (x) => `Math.floor(${x})`,
    gradient: () => [undefined],
  }),
  relu: elementwiseOp('relu', {
    onnx: 'Relu',
    arity: 1,
    compute: (x) => Math.max(x, 0),
    expression: (x) => `Math.max(${x}, 0)`,
    gradient: (g, [x]) => [where(greater(x, 0), g, 0)],
  }),
  not: elementwiseOp('not', {
    onnx: 'Not',
    arity: 1,
    compute: (x) => (x ? 0 : 1),
    expression: (x) => `(!${x})`,
    result: () => 'bool',
  }),
};

const compare = (onnx: string, compute: (a: number, b: number) => boolean, operator: string) => ({
  onnx,
  arity: 2 as const,
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
    arity: 2,
    compute: (a, b) => a + b,
    expression: (a, b) => `(${a} + ${b})`,
    gradient: (g) => [g, g],
  }),
  sub: elementwiseOp('sub', {
    onnx: 'Sub',
    arity: 2,
    compute: (a, b) => a - b,
    expression: (a, b) => `(${a} - ${b})`,
    gradient: (g) => [g, neg(g)],
  }),
  mul: elementwiseOp('mul', {
    onnx: 'Mul',
    arity: 2,
    compute: (a, b) => a * b,
    expression: (a, b) => `(${a} * ${b})`,
    gradient: (g, [a, b]) => [mul(g, b), mul(g, a)],
  }),
  div: elementwiseOp('div', {
    onnx: 'Div',
    arity: 2,
    compute: (a, b) => a / b,
    expression: (a, b) => `(${a} / ${b})`,
    gradient: (g, [, b], y) => {
      const ga = div(g, b);
      return [ga, neg(mul(ga, y))];
    },
  }),
  pow: elementwiseOp('pow', {
    onnx: 'Pow',
    arity: 2,
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
    arity: 2,
    compute: Math.max,
    expression: (a, b) => `Math.max(${a}, ${b})`,
    gradient: (g, [a, b]) => [where(greater(b, a), 0, g), where(greater(b, a), g, 0)],
  }),
  minimum: elementwiseOp('minimum', {
    onnx: 'Min',
    arity: 2,
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
    arity: 2,
    compute: (a, b) => Number(a && b),
    expression: (a, b) => `(${a} && ${b})`,
    result: () => 'bool',
  }),
  or: elementwiseOp('or', {
    onnx: 'Or',
    arity: 2,
    compute: (a, b) => Number(a || b),
    expression: (a, b) => `(${a} || ${b})`,
    result: () => 'bool',
  }),
};

const whereOp = elementwiseOp('where', {
  onnx: 'Where',
  arity: 3,
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

/** Error function to float64 accuracy: Taylor series near 0, continued fraction beyond 2. */
export function erfFloat64(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = x;
    let total = x;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total) && n < 200; n++) {
      term *= (-x * x) / n;
      total += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * total;
  }
  let fraction = 0;
  for (let k = 60; k >= 1; k--) fraction = k / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / ((a + fraction) * Math.sqrt(Math.PI)));
}
