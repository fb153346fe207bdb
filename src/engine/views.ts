import { isInput, type Program } from '../graph/index.ts';
import type { Node, Tensor } from '../graph/tensor.ts';

/** Whose memory each result of a program is. */
export interface Views {
  /** Reshaped results share the memory of what they are made of; one that leaves the program is a copy. */
  isView(node: Node): boolean;
  /** What a view shows; any other tensor itself. */
  rootOf(t: Tensor): Tensor;
}

export function viewsOf(p: Program, order: readonly Node[]): Views {
  const outputs = new Set(Object.values(p.outputs));
  const roots = new Map<Tensor, Tensor>();
  const rootOf = (t: Tensor) => roots.get(t) ?? t;
  const isView = (node: Node) => node.op.name === 'reshape' && !outputs.has(node.outputs[0]);
  for (const node of order) if (isView(node)) roots.set(node.outputs[0], rootOf(node.inputs[0]));
  return { isView, rootOf };
}

/** Whether a node's results are not computed, but fed or held by the compiled program. */
export function isGiven(node: Node): boolean {
  return isInput(node.outputs[0]) || node.op.name === 'constant' || node.op.name === 'fill';
}
