import { isInput, type Program } from '../graph/index.ts';
import { type Node, sameShape, type Tensor, topological } from '../graph/tensor.ts';

/**
 * Operators whose result ONNX Runtime may write over an operand, and which: it reads an element of it only before it
 * writes that element (a row, for softmax), or begins with a copy that is none where the two are one.
 */
const OVERWRITING: Readonly<Record<string, readonly number[]>> = {
  add: [0, 1],
  sub: [0, 1],
  mul: [0, 1],
  div: [0, 1],
  neg: [0],
  abs: [0],
  exp: [0],
  log: [0],
  sqrt: [0],
  tanh: [0],
  sigmoid: [0],
  relu: [0],
  softmax: [0],
  logSoftmax: [0],
  scatterAdd: [0],
  matmulAdd: [2],
};

/** Of those the ones that read operands element by element: an operand may then come twice. */
const ELEMENTWISE: ReadonlySet<string> = new Set(['add', 'sub', 'mul', 'div']);

/**
 * Operands that an operator's result may be written over, if nothing reads them later.
 * @param rootOf what a view shows
 */
export function overwritten(
  { op, inputs, outputs: [result] }: Node,
  rootOf: (t: Tensor) => Tensor,
): Tensor[] {
  const fits = (t: Tensor) => sameShape(t.shape, result.shape) && t.dtype === result.dtype;
  const harmless = (t: Tensor) => ELEMENTWISE.has(op.name) && fits(t);
  const alone = (at: number) =>
    inputs.every((t, i) => i === at || rootOf(t) !== rootOf(inputs[at]) || harmless(t));
  return (OVERWRITING[op.name] ?? []).filter((i) => fits(inputs[i]) && alone(i)).map((i) => inputs[i]);
}

/** Whether an output may be written over the memory of an input, both by name. */
export type MayOverwrite = (output: string, input: string) => boolean;

/**
 * An output may be written over an input that nothing reads after the operator that gives the output has begun, if that
 * operator itself reads an element only before it writes it.
 * @param p simplified, as it is lowered
 */
export function inPlace(p: Program): MayOverwrite {
  const known = new Map<string, boolean>();
  const outputs = new Set(Object.values(p.outputs));
  // Asked for few pairs if any: a step's program has thousands of operators, and writes over none of its inputs.
  return (output, input) => {
    const key = JSON.stringify([output, input]);
    if (!known.has(key)) known.set(key, decide(p.outputs[output], input, outputs));
    return known.get(key)!;
  };
}

function decide(output: Tensor, input: string, outputs: ReadonlySet<Tensor>): boolean {
  const order = topological([...outputs]);
  const x = order.map((node) => node.outputs[0]).find((t) => isInput(t) && t.node.attributes.name === input);
  if (!x || !sameShape(output.shape, x.shape) || output.dtype !== x.dtype) return false;
  const views = viewsOf(x, order);
  if ([...views].some((view) => outputs.has(view))) return false;
  const readers = order.filter((node) => !isView(node) && node.inputs.some((t) => views.has(t)));
  const over = overwritten(output.node, (t) => (views.has(t) ? x : t));
  const harmless = output.node.inputs.every((t) => !views.has(t) || over.includes(t));
  return output.node.op.name in OVERWRITING && harmless && isLast(output.node, readers);
}

function isProduct(node: Node): boolean {
  return node.op.name === 'matmul';
}

function isView(node: Node): boolean {
  return node.op.name === 'reshape';
}

/** The tensor and what shares its memory. */
function viewsOf(x: Tensor, order: readonly Node[]): ReadonlySet<Tensor> {
  const views = new Set([x]);
  for (const node of order) if (isView(node) && views.has(node.inputs[0])) views.add(node.outputs[0]);
  return views;
}

/** Whether all readers have finished before `node` begins, or are `node` itself. */
function isLast(node: Node, readers: readonly Node[]): boolean {
  // ONNX Runtime makes one operator of a sum and the product under it, which then reads while it writes.
  const fused = node.op.name === 'add' ? node.inputs.map((t) => t.node).filter(isProduct) : [];
  const before = ancestors(node);
  return readers.every((reader) => reader === node || (before.has(reader) && !fused.includes(reader)));
}

function ancestors(node: Node): ReadonlySet<Node> {
  return new Set(topological(node.inputs));
}
