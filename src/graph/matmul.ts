import { type Shape, sizeOf } from './array.ts';
import { broadcastIndex, broadcastShapes } from './broadcast.ts';
import { add, mul } from './elementwise.ts';
import { reference } from './evaluate-helpers.ts';
import type { OnnxBuilder } from './onnx.ts';
import { sumTo } from './reduce.ts';
import { reshape } from './shape.ts';
import { apply, type Node, type Op, rank, sameShape, shapeError, type Tensor } from './tensor.ts';

interface MatmulAttributes {
  transA: boolean;
  transB: boolean;
  alpha: number;
}

function dims(inputs: readonly Tensor[], { transA, transB }: MatmulAttributes) {
  const [a, b] = inputs;
  if (rank(a) < 2 || rank(b) < 2) throw shapeError('matmul', inputs, 'both need at least two axes');
  const [ar, ac] = a.shape.slice(-2);
  const [br, bc] = b.shape.slice(-2);
  const [m, k] = transA ? [ac, ar] : [ar, ac];
  const [k2, n] = transB ? [bc, br] : [br, bc];
  if (k !== k2 || a.dtype !== b.dtype)
    throw shapeError(
      'matmul',
      inputs,
      `the inner axes have ${k} and ${k2} elements${transA ? ', first transposed' : ''}${transB ? ', second transposed' : ''}`,
    );
  return { m, n, k };
}

const matmulOp: Op = {
  name: 'matmul',
  infer: (inputs, attributes) => {
    const { m, n } = dims(inputs, attributes as unknown as MatmulAttributes);
    const batch = broadcastShapes(
      'matmul',
      inputs.map((t) => ({ ...t, shape: t.shape.slice(0, -2) })),
    );
    return [{ shape: [...batch, m, n], dtype: inputs[0].dtype }];
  },
  gradient: (node, [g]) => {
    if (!g) return [];
    const [a, b] = node.inputs;
    const { transA, transB, alpha } = node.attributes as unknown as MatmulAttributes;
    const ga = transA
      ? matmul(b, g, { transA: transB, transB: true, alpha })
      : matmul(g, b, { transB: !transB, alpha });
    const gb = gradientOfSecond(a, b, g, transA, transB, alpha);
    return [sumTo(ga, a.shape), gb];
  },
  lower: (node, builder) => {
    const { transA, transB, alpha } = node.attributes as unknown as MatmulAttributes;
    const parts = partsOfRow(node, builder.threads);
    if (parts > 1) lowerInParts(node, builder, parts);
    else if (!transA && !transB && alpha === 1) builder.emitFor(node, 'MatMul');
    else
      builder.emitFor(
        node,
        'FusedMatMul',
        { transA: transA ? 1 : 0, transB: transB ? 1 : 0, alpha: { float: alpha } },
        'com.microsoft',
      );
  },
  evaluate: (node, [a, b]) => {
    const attributes = node.attributes as unknown as MatmulAttributes;
    const out = reference(node.outputs[0].dtype, node.outputs[0].shape);
    const { m, n, k } = dims(node.inputs, attributes);
    const batch = out.shape.slice(0, -2);
    const ia = broadcastIndex(a.shape.slice(0, -2), batch);
    const ib = broadcastIndex(b.shape.slice(0, -2), batch);
    const [as, bs] = [attributes.transA ? [1, m] : [k, 1], attributes.transB ? [1, k] : [n, 1]];
    for (let t = 0; t < sizeOf(batch); t++) {
      const [oa, ob] = [ia(t) * m * k, ib(t) * k * n];
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) {
          let total = 0;
          for (let l = 0; l < k; l++)
            total += Number(a.data[oa + i * as[0] + l * as[1]]) * Number(b.data[ob + l * bs[0] + j * bs[1]]);
          out.data[(t * m + i) * n + j] = attributes.alpha * total;
        }
    }
    return [out];
  },
};

/** A product of matrices and a matrix that is added to it, in one operator: the product itself is never held. */
const matmulAddOp: Op = {
  name: 'matmulAdd',
  infer: (_inputs, { shape }) => [{ shape: shape as Shape, dtype: 'float32' }],
  lower: (node, builder) => {
    const { transA, transB, alpha } = node.attributes as unknown as MatmulAttributes;
    builder.emitFor(node, 'Gemm', {
      transA: transA ? 1 : 0,
      transB: transB ? 1 : 0,
      alpha: { float: alpha },
    });
  },
  evaluate: (node, [a, b, c]) => {
    const product = apply(matmulOp, node.inputs.slice(0, 2), node.attributes)[0].node;
    const [out] = matmulOp.evaluate(product, [a, b]);
    for (let i = 0; i < c.data.length; i++) out.data[i] = Number(out.data[i]) + Number(c.data[i]);
    return [out];
  },
};

/**
 * `sign · product + c` as one operator, where that is a product of two matrices and c a matrix of its shape; for the
 * simplifier, behind which nothing is differentiated any more.
 */
export function matmulAdd(product: Tensor, c: Tensor, sign: 1 | -1 = 1): Tensor | undefined {
  const attributes = asMatmul(product);
  const [a, b] = product.node.inputs;
  const fits = attributes && rank(a) === 2 && rank(b) === 2 && sameShape(product.shape, c.shape);
  if (!fits || product.dtype !== 'float32') return undefined;
  const alpha = sign * attributes.alpha;
  return apply(matmulAddOp, [a, b, c], { ...attributes, alpha, shape: product.shape })[0];
}

/** Below this many rows of B a part is not worth a thread. */
const SMALLEST_PART = 64;

/** Into how many parts a product is cut that reads B from end to end for one row: a power of two, at most `threads`. */
function partsOfRow({ inputs: [a, b], attributes }: Node, threads: number): number {
  const { transA, transB, alpha } = attributes as unknown as MatmulAttributes;
  const inner = b.shape[0];
  if (transA || transB || alpha !== 1 || rank(b) !== 2 || sizeOf(a.shape) !== inner) return 1;
  let parts = 1;
  while (parts * 2 <= threads && inner % (parts * 2) === 0 && inner / (parts * 2) >= SMALLEST_PART)
    parts *= 2;
  return parts;
}

/**
 * The product of one row, its inner axis cut into `parts` whose products are added. ONNX Runtime gives each thread a range
 * of the outputs, that is a piece of every row of B; so cut, a thread reads its part of B from end to end, which memory
 * delivers 10 to 30 % faster. A single row is bound by nothing else.
 */
function lowerInParts(node: Node, builder: OnnxBuilder, parts: number): void {
  const [a, b] = node.inputs;
  const [inner, n] = b.shape;
  const reshaped = (name: string, shape: readonly number[]) =>
    builder.emit('Reshape', [name, builder.ints(shape)])[0];
  const row = reshaped(builder.name(a), [parts, 1, inner / parts]);
  const [products] = builder.emit('MatMul', [row, reshaped(builder.name(b), [parts, inner / parts, n])]);
  const [sum] = builder.emit('ReduceSum', [products, builder.ints([0])], { keepdims: 0 });
  builder.bind(node.outputs[0], reshaped(sum, node.outputs[0].shape));
}

/** A weight shared by a whole batch gets its gradient from one product over all rows, not from a sum of products. */
function gradientOfSecond(
  a: Tensor,
  b: Tensor,
  g: Tensor,
  transA: boolean,
  transB: boolean,
  alpha: number,
): Tensor {
  const shared = rank(b) === 2 && rank(a) > 2 && !transA;
  const flat = (t: Tensor) => (shared ? reshape(t, [-1, t.shape[rank(t) - 1]]) : t);
  const [x, y] = [flat(a), flat(g)];
  const gb = transB
    ? matmul(y, x, { transA: true, transB: transA, alpha })
    : matmul(x, y, { transA: !transA, alpha });
  return sumTo(gb, b.shape);
}

/**
 * alpha · A B over the last two axes, leading axes broadcast; `transA`/`transB` swap an operand's last two axes.
 * Lowers to MatMul or com.microsoft FusedMatMul.
 */
export function matmul(a: Tensor, b: Tensor, options: Partial<MatmulAttributes> = {}): Tensor {
  const { transA = false, transB = false, alpha = 1 } = options;
  return apply(matmulOp, [a, b], { transA, transB, alpha })[0];
}

/** y = x Wᵀ + b with W ∈ R^{out×in}. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const y = matmul(x, weight, { transB: true });
  return bias ? add(y, bias) : y;
}

/** The operands of a product when `t` is one with these flags free to change; for the simplifier. */
export function asMatmul(t: Tensor): MatmulAttributes | undefined {
  return t.node.op === matmulOp ? (t.node.attributes as unknown as MatmulAttributes) : undefined;
}

/** Outer scale of a tensor by a number, folded into a product where it is one. */
export function scale(x: Tensor, by: number): Tensor {
  const product = asMatmul(x);
  if (!product) return mul(x, by);
  const [a, b] = x.node.inputs;
  return matmul(a, b, { ...product, alpha: product.alpha * by });
}
