import { isGiven, planWorkspace, viewsOf } from '../engine/index.ts';
import { byteSize, type Program, simplify, type Tensor } from '../graph/index.ts';

/** What running a program takes, in bytes, besides its inputs and the outputs that the caller provides. */
export interface ProgramMemory {
  /** Memory that it shares with the programs that run before and after it. */
  readonly workspace: number;
  /** Its own: constants, the most that small results take at once, and outputs that the caller does not provide. */
  readonly own: number;
  /** Operators. */
  readonly nodes: number;
}

/**
 * Plans a program as the engine does, without compiling or running it.
 *
 * @param provided names of outputs that are written into arrays of the caller
 */
export function programMemory(p: Program, provided: ReadonlySet<string>): ProgramMemory {
  const simplified = simplify(p);
  const { bytes, results, order } = planWorkspace(simplified);
  const elsewhere = new Set(results.map(({ tensor }) => tensor));
  const last = new Map<Tensor, number>();
  const { isView, rootOf } = viewsOf(simplified, order);
  for (const [at, node] of order.entries()) for (const t of node.inputs) last.set(rootOf(t), at);
  let given = 0;
  for (const [name, t] of Object.entries(simplified.outputs)) {
    elsewhere.add(t);
    if (!provided.has(name)) given += byteSize(t.shape, t.dtype);
  }
  let alive = 0;
  let most = 0;
  const ends = order.map((): Tensor[] => []);
  for (const [at, node] of order.entries()) {
    if (isView(node)) continue;
    if (isGiven(node)) {
      if (node.op.name !== 'input') given += byteSize(node.outputs[0].shape, node.outputs[0].dtype);
      continue;
    }
    for (const t of node.outputs.filter((t) => !elsewhere.has(t))) {
      alive += byteSize(t.shape, t.dtype);
      ends[Math.max(at, last.get(t) ?? at)].push(t);
    }
    most = Math.max(most, alive);
    for (const t of ends[at]) alive -= byteSize(t.shape, t.dtype);
  }
  return { workspace: bytes, own: given + most, nodes: order.length };
}
