import { BYTES, isInput, type Program, simplify, sizeOf, type Tensor } from '../graph/index.ts';
import { loweringOrder } from '../graph/onnx.ts';
import { type Node, topological } from '../graph/tensor.ts';

/** What running a program takes, in bytes, besides its inputs and the outputs that the caller provides. */
export interface ProgramMemory {
  /** Most that intermediate results and outputs of its own take at once. */
  readonly peak: number;
  /** Most that those take which the C library keeps when they are freed, and most that those take which it gives back. */
  readonly kept: number;
  readonly returned: number;
  /** The largest block that may be kept. */
  readonly largestKept: number;
  /** Of it the constants, which stay as long as the program is compiled. */
  readonly constants: number;
  /** Operators. */
  readonly nodes: number;
}

/** A buffer: one result, with the views of it and the results that are given its memory later. */
interface Buffer {
  readonly bytes: number;
  /** Results of this type and shape may take its memory when nothing reads it any more. */
  readonly kind: string;
  /** Position of the last operator that reads it; infinite for outputs. */
  last: number;
  /** Fed, provided by the caller, or a constant of the program. */
  readonly outside: boolean;
}

/**
 * Walks a program in the order in which ONNX Runtime runs it and counts what is held, without running it. A view takes no
 * memory, the result of a few operators that of their operand. Any other takes that of a dead result of its shape, if
 * there is one: as this is planned ahead, such memory is held until the last of its results is dead.
 *
 * @param provided names of outputs that are written into arrays of the caller
 */
export function programMemory(p: Program, provided: ReadonlySet<string>): ProgramMemory {
  const simplified = simplify(p);
  const order = runOrder(loweringOrder(simplified));
  const buffers = assignBuffers(simplified, order, provided);
  const ends = new Map<number, Buffer[]>();
  const begun = new Set<Buffer>();
  const alive = { peak: 0, kept: 0, returned: 0 };
  const most = { ...alive };
  const change = ({ bytes }: Buffer, sign: 1 | -1) => {
    for (const name of ['peak', bytes < GIVEN_BACK ? 'kept' : 'returned'] as const) {
      alive[name] += sign * bytes;
      most[name] = Math.max(most[name], alive[name]);
    }
  };
  for (const [at, node] of order.entries()) {
    for (const t of node.outputs) {
      const buffer = buffers.get(t)!;
      if (buffer.outside || begun.has(buffer)) continue;
      begun.add(buffer);
      change(buffer, 1);
      ends.set(buffer.last, [...(ends.get(buffer.last) ?? []), buffer]);
    }
    for (const buffer of ends.get(at) ?? []) change(buffer, -1);
  }
  const constants = constantBytes(order);
  const small = [...begun].map(({ bytes }) => bytes).filter((bytes) => bytes < GIVEN_BACK);
  const largestKept = Math.max(0, ...small);
  return { ...most, largestKept, peak: most.peak + constants, constants, nodes: order.length };
}

/** From this size on glibc returns what is freed to the system (`DEFAULT_MMAP_THRESHOLD_MAX`); smaller blocks it may keep. */
const GIVEN_BACK = 32 * 2 ** 20;

function bytesOf(t: Tensor): number {
  return sizeOf(t.shape) * BYTES[t.dtype];
}

function constantBytes(order: readonly Node[]): number {
  const constants = order.filter((node) => node.op.name === 'constant' || node.op.name === 'fill');
  return constants.reduce((n, node) => n + bytesOf(node.outputs[0]), 0);
}

function assignBuffers(
  p: Program,
  order: readonly Node[],
  provided: ReadonlySet<string>,
): ReadonlyMap<Tensor, Buffer> {
  const outputs = new Map(Object.entries(p.outputs).map(([name, t]) => [t, name]));
  const lastRead = new Map<Tensor, number>();
  for (const [at, node] of order.entries()) for (const t of node.inputs) lastRead.set(t, at);
  const buffers = new Map<Tensor, Buffer>();
  const dead = new Map<string, Buffer[]>();
  for (const [at, node] of order.entries()) {
    for (const t of node.outputs) {
      const name = outputs.get(t);
      const last = name === undefined ? (lastRead.get(t) ?? at) : Number.POSITIVE_INFINITY;
      const outside = isOutside(node) || (name !== undefined && provided.has(name));
      const kind = `${t.dtype}[${t.shape}]`;
      const shared =
        name === undefined && !outside
          ? (sharedBuffer(node, at, buffers) ?? dead.get(kind)?.pop())
          : undefined;
      if (shared) shared.last = Math.max(shared.last, last);
      buffers.set(t, shared ?? { bytes: bytesOf(t), kind, last, outside });
    }
    const done = new Set([...node.inputs, ...node.outputs].map((t) => buffers.get(t)!));
    for (const buffer of done)
      if (buffer.last === at && !buffer.outside)
        dead.set(buffer.kind, [...(dead.get(buffer.kind) ?? []), buffer]);
  }
  return buffers;
}

function isOutside(node: Node): boolean {
  return isInput(node.outputs[0]) || node.op.name === 'constant' || node.op.name === 'fill';
}

/** Operators of ONNX Runtime's CPU provider that write over their operand; sums, products and roots do not. */
const OVERWRITING: ReadonlySet<string> = new Set(['relu', 'tanh', 'sigmoid', 'scatterAdd']);

/** The operand's buffer that a result needs no memory beside. */
function sharedBuffer(node: Node, at: number, buffers: ReadonlyMap<Tensor, Buffer>): Buffer | undefined {
  const operand = buffers.get(node.inputs[0]);
  if (!operand || operand.outside) return node.op.name === 'reshape' ? operand : undefined;
  if (node.op.name === 'reshape') return operand;
  return OVERWRITING.has(node.op.name) && operand.last === at ? operand : undefined;
}

/**
 * ONNX Runtime's order (`Graph::ReverseDFSFrom` over the leaves): depth first from the last leaf back, of each operator's
 * operands the one that was written last first.
 */
function runOrder(outputs: readonly Tensor[]): Node[] {
  const written = topological(outputs);
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
