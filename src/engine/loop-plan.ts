import { sizeOf, type TypedArray } from '../graph/array.ts';
import type { Node, Tensor } from '../graph/tensor.ts';

/** An elementwise program over n elements and single numbers, ready to become code. */
export interface LoopPlan {
  /** Operands before results. */
  readonly order: readonly Node[];
  readonly inputs: readonly string[];
  readonly outputs: readonly Tensor[];
  /** For each output the input whose very array it is written to, or −1. */
  readonly places: readonly number[];
  readonly n: number;
}

/** Runs a plan over the arrays of its inputs and outputs. */
export type LoopBody = (feeds: readonly TypedArray[], into: readonly TypedArray[]) => void;

/** True for a number that is the same for all elements: computed once, before the loop. */
export function isSingle(t: Tensor, n: number): boolean {
  return sizeOf(t.shape) === 1 && n !== 1;
}

/** Which input a node reads; −1 where it reads none. */
export function inputIndex(node: Node, inputs: readonly string[]): number {
  return node.op.name === 'input' ? inputs.indexOf(String(node.attributes.name)) : -1;
}
