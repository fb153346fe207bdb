import { RankineError } from '../errors.ts';
import type { NDArray } from './array.ts';
import type { Program } from './program.ts';
import { type Tensor, topological } from './tensor.ts';

/** Runs a program with reference arithmetic in float64, slowly: the judge of gradients and lowerings. */
export function evaluate(p: Program, feeds: Readonly<Record<string, NDArray>>): Record<string, NDArray> {
  const values = new Map<Tensor, NDArray>();
  for (const node of topological(Object.values(p.outputs))) {
    if (node.op.name === 'input') {
      const name = String(node.attributes.name);
      if (!feeds[name]) throw new RankineError('graph/missing-feed', `The input "${name}" was not fed.`);
      values.set(node.outputs[0], feeds[name]);
      continue;
    }
    const results = node.op.evaluate(
      node,
      node.inputs.map((t) => values.get(t)!),
    );
    node.outputs.forEach((t, i) => {
      values.set(t, results[i]);
    });
  }
  return Object.fromEntries(Object.entries(p.outputs).map(([name, t]) => [name, values.get(t)!]));
}
