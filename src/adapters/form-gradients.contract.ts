import { expect } from 'vitest';
import type { Engine } from '../engine/index.ts';
import {
  add,
  constant,
  evaluate,
  gradients,
  input,
  mul,
  type NDArray,
  program,
  sum,
  type Tensor,
} from '../graph/index.ts';
import { apply, topological } from '../graph/tensor.ts';
import { arraysOf, maxDifference, normal, type Started, trace } from './form-checks.contract.ts';

type Feeds = Record<string, NDArray>;

const wide = (a: NDArray): NDArray =>
  a.dtype === 'float32' ? { ...a, data: Float64Array.from(a.data as Float32Array) } : a;

/** Tensors that differentiation takes for constants, held at their value: what the derivative is the slope of. */
function holdDetached(y: Tensor, feeds: Feeds): Tensor {
  const replaced = new Map<Tensor, Tensor>();
  for (const node of topological([y])) {
    const inputs = node.inputs.map((t) => replaced.get(t) ?? t);
    if (node.op.name === 'detach') {
      const { value } = evaluate(program({ value: node.inputs[0] }), feeds);
      // A copy: the value of a detached input is the very array whose elements are moved.
      replaced.set(node.outputs[0], constant({ ...value, dtype: 'float32', data: value.data.slice() }));
    } else if (inputs.some((t, i) => t !== node.inputs[i])) {
      apply(node.op, inputs, node.attributes).forEach((t, i) => {
        replaced.set(node.outputs[i], t);
      });
    }
  }
  return replaced.get(y) ?? y;
}

/** A layer's loss with the form's penalty, and what feeds it. */
function lossOf(s: Started, x: NDArray): { loss: Tensor; inputs: Record<string, Tensor>; feeds: Feeds } {
  const { y, inputs } = trace(s, x, true);
  const direction = normal(y.shape, 55);
  const own = sum(mul(y, input('direction', y.shape)));
  const loss = s.form.penalty ? add(own, s.form.penalty(inputs, s.options, 2)) : own;
  return { loss, inputs, feeds: { base: s.base, x, direction, ...arraysOf(s) } };
}

/** Derived gradients in float64 against central differences, and the engine's against them. */
export async function checkGradients(engine: Engine, s: Started, x: NDArray): Promise<void> {
  const { loss, inputs, feeds } = lossOf(s, x);
  const exact = Object.fromEntries(Object.entries(feeds).map(([k, a]) => [k, wide(a)]));
  const slopes = program({ loss: holdDetached(loss, exact) });
  const names = Object.keys(s.factors.trainable);
  const derivatives = gradients(
    loss,
    names.map((n) => inputs[n]),
  );
  const derived = program(Object.fromEntries(names.map((n, i) => [n, derivatives[i]])));
  const reference = evaluate(derived, exact);
  const at = () => Number(evaluate(slopes, exact).loss.data[0]);
  for (const name of names) {
    const data = exact[name].data as Float64Array;
    expect(reference[name].shape).toEqual(exact[name].shape);
    for (let i = 0; i < data.length; i += data.length > 24 ? 5 : 1) {
      const kept = data[i];
      data[i] = kept + 1e-5;
      const up = at();
      data[i] = kept - 1e-5;
      const slope = (up - at()) / 2e-5;
      data[i] = kept;
      const error = Math.abs(Number(reference[name].data[i]) - slope) / Math.max(1, Math.abs(slope));
      expect(error, `${name}[${i}]: ${reference[name].data[i]}, by differences ${slope}`).toBeLessThan(1e-6);
    }
  }
  const compiled = await engine.compile(derived);
  const result = await compiled.run(
    Object.fromEntries(compiled.inputs.map(({ name }) => [name, feeds[name]])),
  );
  for (const name of names) expect(relative(result[name], reference[name]), name).toBeLessThan(1e-4);
}

/** Largest difference as a share of the largest expected value, or of 1. */
export function relative(a: NDArray, expected: NDArray): number {
  const scale = (expected.data as Float64Array).reduce((most, v) => Math.max(most, Math.abs(v)), 1);
  return maxDifference(a, expected) / scale;
}
