import { isInput, type Program } from '../graph/index.ts';
import { type Node, sameShape, type Tensor, topological } from '../graph/tensor.ts';

/** Operators whose result ONNX Runtime may write over an operand, element by element. */
const OVERWRITING: ReadonlySet<string> = new Set(['add', 'sub', 'mul', 'div']);

/**
 * Inputs over whose memory an output may be written, by the output's name: nothing reads them after the operator that
 * gives the output has begun, and that operator itself reads an element only before it writes it.
 * @param p simplified, as it is lowered
 */
export function inPlace(p: Program): ReadonlyMap<string, ReadonlySet<string>> {
  const order = topological(Object.values(p.outputs));
  const outputs = new Set(Object.values(p.outputs));
  const inputs = order.filter((node) => isInput(node.outputs[0])).map((node) => node.outputs[0]);
  const places = new Map<string, Set<string>>();
  for (const x of inputs) {
    const views = viewsOf(x, order);
    if ([...views].some((view) => outputs.has(view))) continue;
    const readers = order.filter((node) => !isView(node) && node.inputs.some((t) => views.has(t)));
    for (const [name, output] of Object.entries(p.outputs))
      if (sameShape(output.shape, x.shape) && output.dtype === x.dtype && isLast(output.node, readers, views))
        places.set(name, (places.get(name) ?? new Set()).add(String(x.node.attributes.name)));
  }
  return places;
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
