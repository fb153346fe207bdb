import { RankineError } from '../errors.ts';
import type { DType, Shape } from './array.ts';
import { apply, describe, type Op, type Tensor, topological } from './tensor.ts';

/** A traced computation: named inputs in, named outputs out. */
export interface Program {
  readonly inputs: readonly InputSpec[];
  readonly outputs: Readonly<Record<string, Tensor>>;
}

export interface InputSpec {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
}

const inputOp: Op = {
  name: 'input',
  infer: (_inputs, a) => [{ shape: a.shape as Shape, dtype: a.dtype as DType }],
  lower: () => {},
  evaluate: () => {
    throw new Error('internal: an input has no arithmetic');
  },
};

/** A named placeholder that is fed at every run: a parameter, a batch, a scalar. */
export function input(name: string, shape: Shape, dtype: DType = 'float32'): Tensor {
  return apply(inputOp, [], { name, shape, dtype })[0];
}

/**
 * Closes a trace. Throws `graph/input-clash` when two inputs bear one name, even with the same shape: a derivative with
 * respect to one of them would silently miss the other's part.
 */
export function program(outputs: Readonly<Record<string, Tensor>>): Program {
  const inputs = new Map<string, InputSpec>();
  const owners = new Map<string, Tensor>();
  for (const node of topological(Object.values(outputs))) {
    if (node.op !== inputOp) continue;
    const [tensor] = node.outputs;
    const name = String(node.attributes.name);
    const known = owners.get(name);
    if (known)
      throw new RankineError(
        'graph/input-clash',
        `Two inputs are named "${name}": ${describe(known)} and ${describe(tensor)}.`,
        'Make the input once and share the tensor.',
      );
    owners.set(name, tensor);
    inputs.set(name, { name, shape: tensor.shape, dtype: tensor.dtype });
  }
  return { inputs: [...inputs.values()], outputs };
}

export function isInput(tensor: Tensor): boolean {
  return tensor.node.op === inputOp;
}
