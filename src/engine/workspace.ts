import { byteSize, type Program } from '../graph/index.ts';
import type { Node, Tensor } from '../graph/tensor.ts';
import { overwritten } from './in-place.ts';
import { SMALLEST_PLACED, schedule } from './schedule.ts';
import { isGiven, viewsOf } from './views.ts';

/** A result that the caller has a place for. */
export interface PlacedResult {
  readonly tensor: Tensor;
  /** Offset in the workspace, in bytes, or the name of the output whose array it is written into. */
  readonly at: number | string;
}

/**
 * Where a program's intermediate results lie in memory that is reserved for them.
 *
 * ONNX Runtime allocates results as it runs: an arena keeps, for every session, the most that a run ever took, and pieces
 * of it lie idle; without one the C library does, for all sessions together. But a result that leaves a program is
 * written where the caller says, and may still be read by other operators. So every large result leaves, into places that
 * are planned here, and programs that run in turn share them.
 */
export interface Workspace {
  /** What all results take together. */
  readonly bytes: number;
  /** No result lies across a multiple of this: so far reaches one piece of memory. */
  readonly piece: number;
  readonly results: readonly PlacedResult[];
  /** The program's operators in the order for which this was planned. */
  readonly order: readonly Node[];
  /**
   * Operators that must have ended before another begins, as that one writes over what they read or wrote. Where a
   * program is run in another order than the planned one, results still do not depend on it.
   */
  readonly waits: ReadonlyMap<Node, readonly Node[]>;
}

/** Offsets are multiples of this: a cache line. */
const ALIGNMENT = 64;

/** Memory comes in pieces, as an array buffer of JavaScript has a limit; what is not used of one is never touched. */
const PIECE = 256 * 2 ** 20;

/** Memory for one result, or for several of which each is written over the one before. */
interface Block {
  readonly bytes: number;
  readonly results: Tensor[];
  /** Positions of the operators that write or read it. */
  readonly users: Set<number>;
  /** Position of the operator that writes it first, and of the last that uses it. */
  readonly first: number;
  last: number;
  /** The output whose array it is. */
  output?: string;
  offset: number;
}

/**
 * An output that is called as an input is one that is written over it, as an updated weight: no result lies in its array,
 * which is still to be read.
 *
 * @param p simplified, as it is lowered
 */
export function planWorkspace(p: Program): Workspace {
  const order = schedule(p);
  const blocks = findBlocks(p, order);
  const placed = [...new Set(blocks.values())].filter((b) => b.output === undefined);
  const largest = Math.max(0, ...placed.map((b) => b.bytes));
  const piece = PIECE * Math.max(1, Math.ceil(largest / PIECE));
  const bytes = layOut(placed, piece);
  const outputs = new Set(Object.values(p.outputs));
  const results = [...blocks].filter(([tensor]) => !outputs.has(tensor));
  return {
    bytes,
    piece,
    order,
    results: results.map(([tensor, { output, offset }]) => ({ tensor, at: output ?? offset })),
    waits: findWaits(order, blocks),
  };
}

/** The blocks of large results and of the outputs that results become part of. */
function findBlocks(p: Program, order: readonly Node[]): Map<Tensor, Block> {
  const outputs = new Map(Object.entries(p.outputs).map(([name, t]) => [t, name]));
  const inputs = new Set(p.inputs.map(({ name }) => name));
  const { isView, rootOf } = viewsOf(p, order);
  const readers = new Map<Tensor, number[]>();
  for (const [at, node] of order.entries()) {
    if (isView(node)) continue;
    for (const t of node.inputs) readers.set(rootOf(t), [...(readers.get(rootOf(t)) ?? []), at]);
  }
  const blocks = new Map<Tensor, Block>();
  for (const [at, node] of order.entries()) {
    if (isGiven(node) || isView(node)) continue;
    for (const t of node.outputs) {
      if (byteSize(t.shape, t.dtype) < SMALLEST_PLACED) continue;
      const users = [at, ...(readers.get(t) ?? [])];
      const output = outputs.get(t);
      const operands = output !== undefined && inputs.has(output) ? [] : overwritten(node, rootOf);
      const over = operands
        .map((operand) => blocks.get(rootOf(operand)))
        .find((b) => b && b.output === undefined && b.last <= at);
      const block = over ?? {
        bytes: byteSize(t.shape, t.dtype),
        results: [],
        users: new Set(),
        first: at,
        last: at,
        offset: 0,
      };
      block.results.push(t);
      for (const user of users) block.users.add(user);
      block.last = Math.max(block.last, ...users);
      block.output = output;
      blocks.set(t, block);
    }
  }
  return blocks;
}

/**
 * Gives each block an offset; blocks that are used at the same time do not overlap.
 * @param piece that no block may leave: at least as large as the largest
 * @returns the end of the last
 */
function layOut(blocks: readonly Block[], piece: number): number {
  const placed: Block[] = [];
  let end = 0;
  for (const block of [...blocks].sort((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    const beside = placed
      .filter((other) => other.first <= block.last && block.first <= other.last)
      .sort((a, b) => a.offset - b.offset);
    for (const other of beside) {
      if (block.offset + block.bytes <= other.offset) break;
      const after = Math.max(block.offset, aligned(other.offset + other.bytes));
      const ends = after + block.bytes > piece * (Math.floor(after / piece) + 1);
      block.offset = ends ? piece * Math.ceil(after / piece) : after;
    }
    placed.push(block);
    end = Math.max(end, block.offset + block.bytes);
  }
  return end;
}

function aligned(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

/** For each operator those that must have ended, where that does not follow from what it is computed from. */
function findWaits(order: readonly Node[], blocks: ReadonlyMap<Tensor, Block>): Map<Node, readonly Node[]> {
  const position = new Map(order.map((node, i) => [node, i]));
  const ended = new Reachable(order.length);
  const waits = new Map<Node, readonly Node[]>();
  const all = new Set(blocks.values());
  for (const [at, node] of order.entries()) {
    for (const t of node.inputs) ended.add(at, position.get(t.node)!);
    const before = node.outputs.flatMap((t) => {
      const block = blocks.get(t);
      if (!block) return [];
      if (block.first < at) return [...block.users];
      return [...all]
        .filter((other) => other !== block && overlap(other, block))
        .flatMap((b) => [...b.users]);
    });
    const waited: Node[] = [];
    for (const user of before.filter((u) => u < at).sort((a, b) => b - a)) {
      if (ended.has(at, user)) continue;
      ended.add(at, user);
      waited.push(order[user]);
    }
    if (waited.length > 0) waits.set(node, waited);
  }
  return waits;
}

function overlap(a: Block, b: Block): boolean {
  if (a.output !== undefined || b.output !== undefined) return false;
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

/** Which of numbered things each comes after, directly or not. */
class Reachable {
  private readonly words: number;
  private readonly bits: Uint32Array;

  constructor(count: number) {
    this.words = (count + 31) >>> 5;
    this.bits = new Uint32Array(count * this.words);
  }

  has(from: number, to: number): boolean {
    return ((this.bits[from * this.words + (to >>> 5)] >>> (to & 31)) & 1) === 1;
  }

  /** `from` comes after `to`, and after all that `to` comes after. */
  add(from: number, to: number): void {
    const [a, b] = [from * this.words, to * this.words];
    for (let w = 0; w < this.words; w++) this.bits[a + w] |= this.bits[b + w];
    this.bits[a + (to >>> 5)] |= 1 << (to & 31);
  }
}
