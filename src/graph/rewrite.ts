import { array, type NDArray, sizeOf } from './array.ts';
import { constant, constantValue, fill, filledWith } from './constant.ts';
import { isZero, scatterAdd } from './index-ops.ts';
import { asMatmul, matmul, matmulAdd } from './matmul.ts';
import { reshape } from './shape.ts';
import { moveSingle } from './singles.ts';
import { apply, type Node, rank, sameShape, type Tensor } from './tensor.ts';

/** Constants larger than this are not folded: the folded value would be stored. */
const FOLD_LIMIT = 65_536;

/** How often a tensor of the program is read, or what has taken its place; an output counts as read. */
export type Uses = ReadonlyMap<Tensor, number>;

type Rule = (node: Node, inputs: readonly Tensor[], uses: Uses) => Tensor | undefined;

const rules: Rule[] = [
  foldConstants,
  dropNeutral,
  foldReshapes,
  foldTransposes,
  transposeProduct,
  foldOperandFactors,
  foldScales,
  moveSingle,
  scatterOnto,
  addInProduct,
];

/**
 * What a node over these (already rewritten) inputs becomes when a rule applies, else undefined. Rules repeat until none
 * applies. A result that broadcasting would shape differently is refused.
 */
export function rewrite(node: Node, inputs: readonly Tensor[], uses: Uses): Tensor | undefined {
  for (const rule of rules) {
    const result = rule(node, inputs, uses);
    if (result && sameShape(result.shape, node.outputs[0].shape))
      return rewrite(result.node, result.node.inputs, uses) ?? result;
  }
  return undefined;
}

function foldConstants(node: Node, inputs: readonly Tensor[]): Tensor | undefined {
  const [output] = node.outputs;
  if (inputs.length === 0 || node.outputs.length !== 1 || node.op.name === 'fill') return undefined;
  if (inputs.every((t) => filledWith(t) !== undefined) && node.op.elementwise)
    return foldFilled(node, inputs);
  if (
    ['reshape', 'expand', 'transpose', 'slice'].includes(node.op.name) &&
    filledWith(inputs[0]) !== undefined
  )
    return fill(output.shape, filledWith(inputs[0])!, output.dtype);
  const values = inputs.map(knownArray);
  if (!inputs.some(constantValue) || values.includes(undefined) || sizeOf(output.shape) > FOLD_LIMIT)
    return undefined;
  const rebuilt = apply(node.op, inputs, node.attributes)[0].node;
  return constant(toStorage(node.op.evaluate(rebuilt, values as NDArray[])[0], output));
}

/** An elementwise operator over filled tensors is a filled tensor, whatever its size. */
function foldFilled(node: Node, inputs: readonly Tensor[]): Tensor {
  const [output] = node.outputs;
  const values = inputs.map((t) => ({ dtype: t.dtype, shape: [], data: Float64Array.of(filledWith(t)!) }));
  const scalars = inputs.map((t) => fill([], filledWith(t)!, t.dtype));
  const { node: small } = apply(node.op, scalars, node.attributes)[0];
  return fill(output.shape, Number(node.op.evaluate(small, values)[0].data[0]), output.dtype);
}

/** Elements of a tensor that is known while tracing, unless there are too many of them. */
function knownArray(t: Tensor): NDArray | undefined {
  const value = filledWith(t);
  if (value === undefined || sizeOf(t.shape) > FOLD_LIMIT) return constantValue(t);
  return array(new Float64Array(sizeOf(t.shape)).fill(value), t.shape, t.dtype);
}

/** Reference results are float64; a constant is stored in the type that the trace declares. */
function toStorage(value: NDArray, declared: Tensor): NDArray {
  const data = declared.dtype === 'float32' ? Float32Array.from(value.data as Float64Array) : value.data;
  return { dtype: declared.dtype, shape: value.shape, data };
}

function dropNeutral(node: Node, [a, b]: readonly Tensor[]): Tensor | undefined {
  const [va, vb] = [a && filledWith(a), b && filledWith(b)];
  switch (node.op.name) {
    case 'add':
      return vb === 0 ? a : va === 0 ? b : undefined;
    case 'sub':
      return vb === 0 ? a : undefined;
    case 'mul':
      return vb === 1 ? a : va === 1 ? b : undefined;
    case 'div':
      return vb === 1 ? a : undefined;
    case 'neg':
      return a.node.op.name === 'neg' ? a.node.inputs[0] : undefined;
    default:
      return undefined;
  }
}

function foldReshapes(node: Node, [x]: readonly Tensor[]): Tensor | undefined {
  if (node.op.name !== 'reshape') return undefined;
  if (x.node.op.name === 'reshape') return reshape(x.node.inputs[0], node.outputs[0].shape);
  return sameShape(x.shape, node.outputs[0].shape) ? x : undefined;
}

/** The operand below a swap of the last two axes, if `t` is one. */
function swapped(t: Tensor): Tensor | undefined {
  if (t.node.op.name !== 'transpose') return undefined;
  const perm = t.node.attributes.perm as number[];
  const n = rank(t);
  const swaps = perm.every((p, i) => p === (i === n - 1 ? n - 2 : i === n - 2 ? n - 1 : i));
  return swaps ? t.node.inputs[0] : undefined;
}

function foldTransposes(node: Node, inputs: readonly Tensor[]): Tensor | undefined {
  if (node.op.name === 'transpose') {
    const [x] = inputs;
    if (x.node.op.name !== 'transpose') return undefined;
    const inner = x.node.attributes.perm as number[];
    const perm = (node.attributes.perm as number[]).map((p) => inner[p]);
    const [source] = x.node.inputs;
    return perm.every((p, i) => p === i) ? source : apply(node.op, [source], { perm })[0];
  }
  const product = asMatmul(node.outputs[0]);
  if (!product) return undefined;
  const [a, b] = [swapped(inputs[0]), swapped(inputs[1])];
  if (!a && !b) return undefined;
  return matmul(a ?? inputs[0], b ?? inputs[1], {
    transA: product.transA !== (a !== undefined),
    transB: product.transB !== (b !== undefined),
    alpha: product.alpha,
  });
}

/** (A B)ᵀ = Bᵀ Aᵀ, where nothing else reads the product: the gradients of weights that are stored in×out. */
function transposeProduct(node: Node, [x]: readonly Tensor[], uses: Uses): Tensor | undefined {
  const product = x && uses.get(node.inputs[0]) === 1 ? asMatmul(x) : undefined;
  if (!product || !swapped(node.outputs[0])) return undefined;
  const [a, b] = x.node.inputs;
  const { transA, transB, alpha } = product;
  return matmul(b, a, { transA: !transB, transB: !transA, alpha });
}

/** A tensor as a number times another tensor of its shape, if it is that. */
function factored(t: Tensor): { source: Tensor; factor: number } | undefined {
  if (t.node.op.name !== 'mul') return undefined;
  const [a, b] = t.node.inputs;
  const [source, factor] = filledWith(b) === undefined ? [b, filledWith(a)] : [a, filledWith(b)];
  return factor !== undefined && sameShape(source.shape, t.shape) ? { source, factor } : undefined;
}

/** Factors beyond these could overflow or vanish in float32 where their parts, applied one by one, do not. */
const SAFE_FACTOR: readonly [number, number] = [1e-30, 1e30];

function safe(factor: number): boolean {
  return Math.abs(factor) >= SAFE_FACTOR[0] && Math.abs(factor) <= SAFE_FACTOR[1];
}

/** A numeric factor of a product's operand costs nothing as the product's own factor. */
function foldOperandFactors(node: Node, inputs: readonly Tensor[]): Tensor | undefined {
  const product = asMatmul(node.outputs[0]);
  if (!product) return undefined;
  const [a, b] = inputs.map(factored);
  const alpha = product.alpha * (a?.factor ?? 1) * (b?.factor ?? 1);
  if ((!a && !b) || !safe(alpha)) return undefined;
  return matmul(a?.source ?? inputs[0], b?.source ?? inputs[1], { ...product, alpha });
}

/** Two numeric factors in a row become one. */
function foldScales(node: Node, inputs: readonly Tensor[]): Tensor | undefined {
  if (node.op.name !== 'mul') return undefined;
  const [x, outer] = filledWith(inputs[1]) === undefined ? [inputs[1], inputs[0]] : inputs;
  const factor = filledWith(outer);
  const inner = factored(x);
  if (factor === undefined || !inner || !safe(inner.factor * factor)) return undefined;
  return apply(node.op, [inner.source, fill([], inner.factor * factor, x.dtype)])[0];
}

/** A product that is only added to something, or taken from it, in one operator with the addition. */
function addInProduct(node: Node, [a, b]: readonly Tensor[], uses: Uses): Tensor | undefined {
  const once = (t: Tensor) => uses.get(t) === 1;
  if (node.op.name === 'sub') return once(b) ? matmulAdd(b, a, -1) : undefined;
  if (node.op.name !== 'add') return undefined;
  return (once(a) ? matmulAdd(a, b) : undefined) ?? (once(b) ? matmulAdd(b, a) : undefined);
}

/** What is scattered onto zeros and then added to something is scattered onto that: the gradients of tied embeddings. */
function scatterOnto(node: Node, [a, b]: readonly Tensor[], uses: Uses): Tensor | undefined {
  if (node.op.name !== 'add' || !sameShape(a.shape, b.shape)) return undefined;
  const onto = (scattered: Tensor, target: Tensor) => {
    const { op, inputs, attributes } = scattered.node;
    if (op.name !== 'scatterAdd' || uses.get(scattered) !== 1 || !isZero(inputs[0])) return undefined;
    return scatterAdd(target, inputs[1], inputs[2], attributes.axis as number);
  };
  return onto(b, a) ?? onto(a, b);
}
