import { RankineError } from '../errors.ts';
import { type DType, type NDArray, type Shape, sizeOf } from './array.ts';
import type { OnnxBuilder } from './onnx.ts';

export type Attribute = number | string | boolean | readonly number[] | NDArray;
export type Attributes = Readonly<Record<string, Attribute>>;

/** A symbolic tensor: output `index` of a node, with a shape and type known while tracing. */
export interface Tensor {
  readonly node: Node;
  readonly index: number;
  readonly shape: Shape;
  readonly dtype: DType;
}

export interface Node {
  readonly id: number;
  readonly op: Op;
  readonly inputs: readonly Tensor[];
  readonly attributes: Attributes;
  readonly outputs: readonly Tensor[];
}

export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** All that is known of one operator: shape rule, gradient rule, ONNX lowering and reference arithmetic, in one place. */
export interface Op {
  readonly name: string;
  /** True when output element i depends on the inputs' elements i (or on scalars) alone. */
  readonly elementwise?: boolean;
  /** Types of the outputs; throws `graph/shape` for inputs that do not fit. */
  infer(inputs: readonly Tensor[], attributes: Attributes): TensorType[];
  /**
   * Gradients for the inputs from gradients of the outputs; absent where the operator is not differentiable. `needed`
   * tells which inputs' gradients will be used, for rules whose results depend on each other.
   */
  gradient?(
    node: Node,
    gradients: readonly (Tensor | undefined)[],
    needed: readonly boolean[],
  ): (Tensor | undefined)[];
  lower(node: Node, builder: OnnxBuilder): void;
  /** Reference arithmetic in float64, for gradient checks and constant folding. Never fast. */
  evaluate(node: Node, inputs: readonly NDArray[]): NDArray[];
  /** JavaScript expression of an elementwise operator, given its operands' expressions. */
  expression?(operands: readonly string[], attributes: Attributes): string;
}

let nextId = 0;

/** Adds a node to the trace and returns its outputs. */
export function apply(op: Op, inputs: readonly Tensor[], attributes: Attributes = {}): Tensor[] {
  const types = op.infer(inputs, attributes);
  const outputs: Tensor[] = [];
  const node: Node = { id: nextId++, op, inputs, attributes, outputs };
  types.forEach((type, index) => {
    outputs.push({ node, index, shape: type.shape, dtype: type.dtype });
  });
  return outputs;
}

export function describe(tensor: TensorType): string {
  return `${tensor.dtype}[${tensor.shape.join(', ')}]`;
}

/** The error of an operator whose operands do not fit: names the operator and every operand's shape. */
export function shapeError(op: string, inputs: readonly TensorType[], expectation: string): RankineError {
  return new RankineError(
    'graph/shape',
    `${op} cannot take ${inputs.map(describe).join(' and ')}: ${expectation}.`,
  );
}

export function size(tensor: TensorType): number {
  return sizeOf(tensor.shape);
}

export function rank(tensor: TensorType): number {
  return tensor.shape.length;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

/** Axis counted from the end when negative; throws when out of range. */
export function normalizeAxis(op: string, axis: number, tensor: TensorType): number {
  const n = rank(tensor);
  const normalized = axis < 0 ? axis + n : axis;
  if (!Number.isInteger(axis) || normalized < 0 || normalized >= n)
    throw shapeError(op, [tensor], `axis ${axis} does not exist`);
  return normalized;
}

/** Nodes that `outputs` depend on, each after its inputs. */
export function topological(outputs: readonly Tensor[]): Node[] {
  const done = new Set<Node>();
  const order: Node[] = [];
  const stack: { node: Node; next: number }[] = [];
  for (const output of outputs) {
    if (done.has(output.node)) continue;
    stack.push({ node: output.node, next: 0 });
    done.add(output.node);
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (top.next < top.node.inputs.length) {
        const child = top.node.inputs[top.next++].node;
        if (!done.has(child)) {
          done.add(child);
          stack.push({ node: child, next: 0 });
        }
      } else {
        order.push(top.node);
        stack.pop();
      }
    }
  }
  return order;
}
