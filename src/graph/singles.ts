import { sizeOf } from './array.ts';
import { filledWith } from './constant.ts';
import { mul } from './elementwise.ts';
import { asMatmul, matmul } from './matmul.ts';
import { sum } from './reduce.ts';
import type { Uses } from './rewrite.ts';
import { apply, type Node, rank, type Tensor } from './tensor.ts';

/**
 * Moves a single number that is known only when the program runs (a rate, a clipping factor) to where it multiplies
 * least: from a product to its smaller operand, from a large operand to the product, past sums.
 */
export function moveSingle(node: Node, inputs: readonly Tensor[], uses: Uses): Tensor | undefined {
  if (node.outputs.length !== 1 || node.outputs[0].dtype !== 'float32') return undefined;
  if (node.op.name === 'mul') return multiplied(inputs, uses);
  const { axes, keep } = node.attributes as { axes: number[]; keep: boolean };
  if (node.op.name === 'sum') {
    const parts = singled(inputs[0]);
    return parts && mul(sum(parts.source, axes, keep), parts.single);
  }
  return ofOperands(node, inputs);
}

/** A tensor as a single number times another tensor, if it is that. */
function singled(t: Tensor): { source: Tensor; single: Tensor } | undefined {
  return t.node.op.name === 'mul' ? splitSingle(t.node.inputs) : undefined;
}

function splitSingle([a, b]: readonly Tensor[]): { source: Tensor; single: Tensor } | undefined {
  const [source, single] = rank(a) === 0 ? [b, a] : [a, b];
  const fits = rank(single) === 0 && rank(source) > 0 && filledWith(single) === undefined;
  return fits ? { source, single } : undefined;
}

function multiplied([a, b]: readonly Tensor[], uses: Uses): Tensor | undefined {
  const parts = splitSingle([a, b]);
  if (parts) return absorbed(parts.source, parts.single, uses);
  const [x, y] = [singled(a), singled(b)];
  if (x && a === b) return mul(mul(x.source, x.source), mul(x.single, x.single));
  if (x && smaller(b, a)) return mul(x.source, mul(b, x.single));
  if (y && smaller(a, b)) return mul(mul(a, y.single), y.source);
  return undefined;
}

/** t times the number, where nothing as large as t needs to be multiplied for it and nothing else reads t. */
function absorbed(t: Tensor, single: Tensor, uses: Uses): Tensor | undefined {
  if ((uses.get(t) ?? 1) > 1) return undefined;
  const { op, attributes, inputs } = t.node;
  const every = (list: readonly (Tensor | undefined)[]) =>
    list.includes(undefined) ? undefined : apply(op, list as Tensor[], attributes)[0];
  const each = (list: readonly Tensor[]) => list.map((x) => absorbed(x, single, uses));
  if (op.name === 'add' || op.name === 'sub') return every(each(inputs));
  if (!asMatmul(t) && op.name !== 'mul' && op.name !== 'matmulAdd') return undefined;
  const [a, b, ...added] = inputs;
  const least = smaller(a, b) ? a : b;
  if (!smaller(least, t)) return undefined;
  const scaled = mul(least, single);
  return every([...(least === a ? [scaled, b] : [a, scaled]), ...each(added)]);
}

/** (s A) B = s (A B), where the product is smaller than the operand. */
function ofOperands(node: Node, [a, b]: readonly Tensor[]): Tensor | undefined {
  const [result] = node.outputs;
  const product = asMatmul(result);
  if (!product) return undefined;
  const [x, y] = [singled(a), singled(b)];
  if (x && smaller(result, a)) return mul(matmul(x.source, b, product), x.single);
  if (y && smaller(result, b)) return mul(matmul(a, y.source, product), y.single);
  return undefined;
}

function smaller(a: Tensor, b: Tensor): boolean {
  return sizeOf(a.shape) < sizeOf(b.shape);
}
