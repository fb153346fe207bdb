import { byteSize, type Program, runOrder } from '../graph/index.ts';
import type { Node, Tensor } from '../graph/tensor.ts';
import { isGiven, viewsOf } from './views.ts';

/** Results of fewer bytes do not matter here, and are not placed in a workspace. */
export const SMALLEST_PLACED = 64 * 2 ** 10;

/**
 * A program's operators in an order that holds little: that of ONNX Runtime, but an operator whose result takes no more
 * than it frees runs as soon as it can. Weights' gradients would else wait for the gradients of all activations, and with
 * them all that they are made of.
 */
export function schedule(p: Program): Node[] {
  const base = runOrder(p);
  const { isView, rootOf } = viewsOf(p, base);
  const outputs = new Set(Object.values(p.outputs));
  // Outputs are the caller's.
  const held = (t: Tensor) => (isGiven(t.node) || outputs.has(t) ? 0 : byteSize(t.shape, t.dtype));
  const readers = readersOf(base);
  const pending = new Map<Tensor, Set<Node>>();
  for (const node of base)
    if (!isView(node)) for (const t of node.inputs) gather(pending, rootOf(t)).add(node);
  const missing = new Map(base.map((node) => [node, new Set(node.inputs.map((t) => t.node)).size]));
  const ready = new Set<Node>();
  const order = new Set<Node>();
  const run = (node: Node) => {
    order.add(node);
    ready.delete(node);
    if (!isView(node)) for (const t of node.inputs) pending.get(rootOf(t))!.delete(node);
    for (const reader of readers.get(node) ?? []) {
      const left = missing.get(reader)! - 1;
      missing.set(reader, left);
      if (left === 0) ready.add(reader);
    }
  };
  const isFree = (node: Node) => {
    if (isView(node)) return true;
    const ends = (t: Tensor) => pending.get(t)!.size === 1;
    const freed = [...new Set(node.inputs.map(rootOf))].filter(ends);
    return sum(node.outputs, held) - sum(freed, held) < SMALLEST_PLACED;
  };
  for (const node of base) if (isGiven(node)) run(node);
  for (const node of base) {
    if (order.has(node)) continue;
    run(node);
    for (let next = first(ready, isFree); next; next = first(ready, isFree)) run(next);
  }
  return [...order];
}

/** The operators that read any result of an operator. */
function readersOf(order: readonly Node[]): ReadonlyMap<Node, ReadonlySet<Node>> {
  const readers = new Map<Node, Set<Node>>();
  for (const node of order) for (const t of node.inputs) gather(readers, t.node).add(node);
  return readers;
}

function gather<K>(sets: Map<K, Set<Node>>, key: K): Set<Node> {
  const found = sets.get(key) ?? new Set();
  sets.set(key, found);
  return found;
}

function first(nodes: Iterable<Node>, fits: (node: Node) => boolean): Node | undefined {
  for (const node of nodes) if (fits(node)) return node;
  return undefined;
}

function sum(tensors: readonly Tensor[], of: (t: Tensor) => number): number {
  return tensors.reduce((n, t) => n + of(t), 0);
}
