import { isInput, type Program } from '../graph/index.ts';
import { type Node, sameShape, type Tensor, topological } from '../graph/tensor.ts';

/** Operators whose result ONNX Runtime may write over an operand, element by element. */
const OVERWRITING: ReadonlySet<string> = new Set(['add', 'sub', 'mul', 'div']);

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
  return isLast(output.node, readers, views);
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
function isLast(node: Node, readers: readonly Node[], views: ReadonlySet<Tensor>): boolean {
  if (!OVERWRITING.has(node.op.name)) return false;
  const [result] = node.outputs;
  const read = node.inputs.filter((t) => views.has(t));
  if (!read.every((t) => sameShape(t.shape, result.shape))) return false;
  // ONNX Runtime makes one operator of a sum and the product under it, which then reads while it writes.
  const fused = node.op.name === 'add' ? node.inputs.map((t) => t.node).filter(isProduct) : [];
  const before = ancestors(node);
  return readers.every((reader) => reader === node || (before.has(reader) && !fused.includes(reader)));
}

function ancestors(node: Node): ReadonlySet<Node> {
  return new Set(topological(node.inputs));
}
