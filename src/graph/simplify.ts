import { type NDArray, sizeOf } from './array.ts';
import { constant, constantValue, fill, filledWith } from './constant.ts';
import { asMatmul, matmul } from './matmul.ts';
import { type Program, program } from './program.ts';
import { type Attributes, apply, type Node, rank, sameShape, type Tensor, topological } from './tensor.ts';

/** Constants larger than this are not folded: the folded value would be stored. */
const FOLD_LIMIT = 65_536;

/**
 * Rewrites a program: constants folded, common subexpressions merged, neutral operations dropped, transposes and
 * numeric factors folded into products. The outputs are equal up to rounding.
 */
export function simplify(p: Program): Program {
  const replaced = new Map<Tensor, Tensor>();
  const seen = new Map<string, Node>();
  for (const node of topological(Object.values(p.outputs))) {
    const inputs = node.inputs.map((t) => replaced.get(t)!);
    const outputs = rebuild(node, inputs, seen);
    node.outputs.forEach((t, i) => {
      replaced.set(t, outputs[i]);
    });
  }
  return program(Object.fromEntries(Object.entries(p.outputs).map(([k, t]) => [k, replaced.get(t)!])));
}

function rebuild(node: Node, inputs: Tensor[], seen: Map<string, Node>): readonly Tensor[] {
  if (node.op.name === 'withGradient' || node.op.name === 'detach') return [inputs[0]];
  const rewritten = rewrite(node, inputs);
  if (rewritten) return [merge(rewritten.node, seen).outputs[rewritten.index]];
  const unchanged = inputs.every((t, i) => t === node.inputs[i]);
  const fresh = unchanged ? node : apply(node.op, inputs, node.attributes)[0].node;
  return merge(fresh, seen).outputs;
}

/** The first node that was seen with the same operator, operands and attributes. */
function merge(node: Node, seen: Map<string, Node>): Node {
  const operands = node.inputs.map((t) => `${t.node.id}.${t.index}`).join(',');
  const key = `${node.op.name}(${operands})${attributeKey(node.attributes)}`;
  const known = seen.get(key);
  if (known) return known;
  seen.set(key, node);
  return node;
}

const arrayIds = new WeakMap<object, number>();
let arrayCount = 0;

function attributeKey(attributes: Attributes): string {
  return JSON.stringify(attributes, (_key, value) => {
    if (value && typeof value === 'object' && 'data' in value) {
      const data = (value as NDArray).data;
      if (!arrayIds.has(data)) arrayIds.set(data, arrayCount++);
      return `array ${arrayIds.get(data)}`;
    }
    return Object.is(value, -0) ? '-0' : typeof value === 'number' ? `${value}` : value;
  });
}

type Rule = (node: Node, inputs: Tensor[]) => Tensor | undefined;

function rewrite(node: Node, inputs: Tensor[]): Tensor | undefined {
  for (const rule of rules) {
    const result = rule(node, inputs);
    if (result && sameShape(result.shape, node.outputs[0].shape)) return result;
  }
  return undefined;
}

const rules: Rule[] = [foldConstants, dropNeutral, foldReshapes, foldTransposes, foldScales];

function foldConstants(node: Node, inputs: Tensor[]): Tensor | undefined {
  const [output] = node.outputs;
  if (inputs.length === 0 || node.outputs.length !== 1 || node.op.name === 'fill') return undefined;
  if (inputs.every((t) => filledWith(t) !== undefined) && node.op.elementwise) {
    const values = inputs.map((t) => ({ dtype: t.dtype, shape: [], data: Float64Array.of(filledWith(t)!) }));
    const scalarNode = apply(
      node.op,
      inputs.map((t) => fill([], filledWith(t)!, t.dtype)),
      node.attributes,
    )[0].node;
    return fill(output.shape, Number(node.op.evaluate(scalarNode, values)[0].data[0]), output.dtype);
  }
  if (
    ['reshape', 'expand', 'transpose', 'slice'].includes(node.op.name) &&
    filledWith(inputs[0]) !== undefined
  )
    return fill(output.shape, filledWith(inputs[0])!, output.dtype);
  if (!inputs.every((t) => constantValue(t)) || sizeOf(output.shape) > FOLD_LIMIT) return undefined;
  const rebuilt = apply(node.op, inputs, node.attributes)[0].node;
  return constant(
    toStorage(
      node.op.evaluate(
        rebuilt,
        inputs.map((t) => constantValue(t)!),
      )[0],
      output,
    ),
  );
}

/** Reference results are float64; a constant is stored in the type that the trace declares. */
function toStorage(value: NDArray, declared: Tensor): NDArray {
  const data = declared.dtype === 'float32' ? Float32Array.from(value.data as Float64Array) : value.data;
  return { dtype: declared.dtype, shape: value.shape, data };
}

function dropNeutral(node: Node, [a, b]: Tensor[]): Tensor | undefined {
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

function foldReshapes(node: Node, [x]: Tensor[]): Tensor | undefined {
  if (node.op.name !== 'reshape') return undefined;
  if (x.node.op.name === 'reshape') return apply(node.op, [x.node.inputs[0]], node.attributes)[0];
  return undefined;
}

/** The operand below a swap of the last two axes, if `t` is one. */
function swapped(t: Tensor): Tensor | undefined {
  if (t.node.op.name !== 'transpose') return undefined;
  const perm = t.node.attributes.perm as number[];
  const n = rank(t);
  const swaps = perm.every((p, i) => p === (i === n - 1 ? n - 2 : i === n - 2 ? n - 1 : i));
  return swaps ? t.node.inputs[0] : undefined;
}

function foldTransposes(node: Node, inputs: Tensor[]): Tensor | undefined {
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

/** Two numeric factors in a row become one. */
function foldScales(node: Node, inputs: Tensor[]): Tensor | undefined {
  if (node.op.name !== 'mul') return undefined;
  const factor = filledWith(inputs[1]) ?? filledWith(inputs[0]);
  if (factor === undefined) return undefined;
  const x = filledWith(inputs[1]) === undefined ? inputs[1] : inputs[0];
  if (x.node.op.name !== 'mul') return undefined;
  const inner = x.node.inputs.find((t) => filledWith(t) !== undefined);
  const source = x.node.inputs.find((t) => filledWith(t) === undefined);
  return inner && source && sameShape(source.shape, node.outputs[0].shape)
    ? apply(node.op, [source, fill([], filledWith(inner)! * factor, source.dtype)])[0]
    : undefined;
}
