import { loweringOrder } from './onnx.ts';
import type { Program } from './program.ts';
import { type Node, topological } from './tensor.ts';

/**
 * A program's operators in the order in which ONNX Runtime runs them (`Graph::ReverseDFSFrom` over the leaves): depth
 * first from the last leaf back, of each operator's operands the one that was written last first.
 */
export function runOrder(p: Program): Node[] {
  const written = topological(loweringOrder(p));
  const index = new Map(written.map((node, i) => [node, i]));
  const inner = new Set(written.flatMap((node) => node.inputs.map((t) => t.node)));
  const stack = written.filter((node) => !inner.has(node)).map((node) => ({ node, left: false }));
  const visited = new Set<Node>();
  const order: Node[] = [];
  while (stack.length > 0) {
    const { node, left } = stack.pop()!;
    if (left) order.push(node);
    if (left || visited.has(node)) continue;
    visited.add(node);
    stack.push({ node, left: true });
    const operands = [...new Set(node.inputs.map((t) => t.node))].sort(
      (a, b) => index.get(a)! - index.get(b)!,
    );
    for (const operand of operands) if (!visited.has(operand)) stack.push({ node: operand, left: false });
  }
  return order;
}
