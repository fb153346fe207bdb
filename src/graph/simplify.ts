import type { NDArray } from './array.ts';
import { type Program, program } from './program.ts';
import { rewrite, type Uses } from './rewrite.ts';
import { type Attributes, apply, type Node, type Tensor, topological } from './tensor.ts';

/**
 * Rewrites a program: constants folded, common subexpressions merged, neutral operations dropped, transposes and
 * numeric factors folded into products. The outputs are equal up to rounding.
 */
export function simplify(p: Program): Program {
  const replaced = new Map<Tensor, Tensor>();
  const seen = new Map<string, Node>();
  const order = topological(Object.values(p.outputs));
  const uses = countUses(p, order);
  for (const node of order) {
    const inputs = node.inputs.map((t) => replaced.get(t)!);
    const outputs = rebuild(node, inputs, seen, uses);
    node.outputs.forEach((t, i) => {
      const own = outputs[i];
      if (own !== t) uses.set(own, (uses.get(own) ?? 0) + (uses.get(t) ?? 0));
      replaced.set(t, own);
    });
  }
  return program(Object.fromEntries(Object.entries(p.outputs).map(([k, t]) => [k, replaced.get(t)!])));
}

function countUses(p: Program, order: readonly Node[]): Map<Tensor, number> {
  const uses = new Map<Tensor, number>();
  for (const t of [...Object.values(p.outputs), ...order.flatMap((node) => node.inputs)])
    uses.set(t, (uses.get(t) ?? 0) + 1);
  return uses;
}

function rebuild(node: Node, inputs: Tensor[], seen: Map<string, Node>, uses: Uses): readonly Tensor[] {
  if (node.op.name === 'withGradient' || node.op.name === 'detach') return [inputs[0]];
  const rewritten = rewrite(node, inputs, uses);
  if (rewritten) return [intern(rewritten, seen)];
  const unchanged = inputs.every((t, i) => t === node.inputs[i]);
  const fresh = unchanged ? node : apply(node.op, inputs, node.attributes)[0].node;
  return merge(fresh, seen).outputs;
}

/** A tensor that a rule made, with every node that the rule added merged too. */
function intern(t: Tensor, seen: Map<string, Node>): Tensor {
  const { node, index } = t;
  if (seen.get(nodeKey(node)) === node) return t;
  const inputs = node.inputs.map((x) => intern(x, seen));
  const unchanged = inputs.every((x, i) => x === node.inputs[i]);
  return merge(unchanged ? node : apply(node.op, inputs, node.attributes)[0].node, seen).outputs[index];
}

/** The first node that was seen with the same operator, operands and attributes. */
function merge(node: Node, seen: Map<string, Node>): Node {
  const key = nodeKey(node);
  const known = seen.get(key);
  if (known) return known;
  seen.set(key, node);
  return node;
}

function nodeKey(node: Node): string {
  const operands = node.inputs.map((t) => `${t.node.id}.${t.index}`).join(',');
  return `${node.op.name}(${operands})${attributeKey(node.attributes)}`;
}

const arrayIds = new WeakMap<object, number>();
let arrayCount = 0;

function attributeKey(attributes: Attributes): string {
  return JSON.stringify(attributes, (_key, value) => {
    if (value && typeof value === 'object' && 'data' in value) {
      const { data, dtype, shape } = value as NDArray;
      if (!arrayIds.has(data)) arrayIds.set(data, arrayCount++);
      return `array ${arrayIds.get(data)} ${dtype}[${shape}]`;
    }
    return Object.is(value, -0) ? '-0' : typeof value === 'number' ? `${value}` : value;
  });
}
