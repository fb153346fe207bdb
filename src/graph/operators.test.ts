import { describe, expect, it } from 'vitest';
import {
  add,
  constant,
  evaluate,
  gradients,
  isInput,
  mul,
  type NDArray,
  type Program,
  program,
  sum,
  type Tensor,
} from './index.ts';
import { caseFeeds, caseProgram, cases, recorded } from './operator-cases.contract.ts';
import { topological } from './tensor.ts';

const STEP = 1e-5;

/** Largest |a − b| / max(1, |b|). */
function difference(a: NDArray, expected: ArrayLike<number>): number {
  if (a.data.length !== expected.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(Number(a.data[i]) - expected[i]) / Math.max(1, Math.abs(expected[i]));
    worst = Number.isNaN(d) ? Number.POSITIVE_INFINITY : Math.max(worst, d);
  }
  return worst;
}

type Feeds = Record<string, NDArray>;
type Weights = Record<string, ArrayLike<number>>;

function weighted(a: NDArray, weights: ArrayLike<number>): number {
  return Array.from(weights).reduce((total, w, i) => total + w * Number(a.data[i]), 0);
}

/** Central differences of Σ weights ∘ outputs with respect to one input, element by element. */
function slopes(p: Program, feeds: Feeds, weights: Weights, key: string): number[] {
  const data = feeds[key].data as Float64Array;
  const chosen = { ...p, outputs: Object.fromEntries(Object.keys(weights).map((k) => [k, p.outputs[k]])) };
  const objective = (at: number, i: number) => {
    const before = data[i];
    data[i] = at;
    const values = evaluate(chosen, feeds);
    const total = Object.entries(weights).reduce((t, [k, w]) => t + weighted(values[k], w), 0);
    data[i] = before;
    return total;
  };
  return Array.from(data, (x, i) => (objective(x + STEP, i) - objective(x - STEP, i)) / (2 * STEP));
}

/** Σ weights ∘ gradients of a case, differentiated once more with respect to every float input. */
function secondGradients(p: Program, feeds: Feeds, weights: Weights): Feeds {
  const parts = Object.entries(weights).map(([k, w]) => {
    const t = p.outputs[k];
    return sum(mul(t, constant({ dtype: 'float32', shape: t.shape, data: Float64Array.from(w) })));
  });
  const inputs = floatInputs(p);
  const derivatives = gradients(parts.reduce(add), inputs);
  return evaluate(program(Object.fromEntries(inputs.map((t, i) => [inputName(t), derivatives[i]]))), feeds);
}

const inputName = (t: Tensor) => String(t.node.attributes.name);

function floatInputs(p: Program): Tensor[] {
  return topological(Object.values(p.outputs))
    .map((node) => node.outputs[0])
    .filter((t) => isInput(t) && t.dtype === 'float32' && inputName(t) !== 'seed');
}

/** Cases that stand on a kink, where slopes say nothing. */
const KINKS = ['relu of zero', 'max ties', 'cast float to bool'];
/** Cases whose gradient is by definition not the slope of their value. */
const DECLARED = ['detach', 'withGradient'];

it('has a recorded case for every built one, and the reverse', () => {
  expect(Object.keys(cases).sort()).toEqual(Object.keys(recorded).sort());
});

describe.each(Object.keys(recorded))('%s', (name) => {
  const p = caseProgram(name);
  const feeds = caseFeeds(name, p, true);
  const { value, gradients: gradientsRecorded, seed } = recorded[name];

  it("has PyTorch's value and gradients", () => {
    const got = evaluate(p, feeds);
    expect(got.value.shape).toEqual(value.shape);
    expect(difference(got.value, value.data)).toBeLessThan(1e-12);
    for (const [key, expected] of Object.entries(gradientsRecorded)) {
      expect(got[`d ${key}`].shape).toEqual(recorded[name].inputs[key].shape);
      expect(difference(got[`d ${key}`], expected), key).toBeLessThan(1e-11);
    }
  });

  it.skipIf([...KINKS, ...DECLARED].includes(name))('has the gradients of finite differences', () => {
    const got = evaluate(p, feeds);
    for (const key of Object.keys(gradientsRecorded).filter((k) => feeds[k]))
      expect(difference(got[`d ${key}`], slopes(p, feeds, { value: seed }, key)), key).toBeLessThan(1e-7);
  });

  it.skipIf([...KINKS, 'detach'].includes(name))('has the second gradients of finite differences', () => {
    const weights = Object.fromEntries(
      Object.entries(gradientsRecorded).map(([k, g]) => [`d ${k}`, g.map((_, i) => Math.sin(i + 1))]),
    );
    if (Object.keys(weights).length === 0) return;
    const got = secondGradients(p, feeds, weights);
    for (const key of Object.keys(got))
      expect(difference(got[key], slopes(p, feeds, weights, key)), key).toBeLessThan(1e-6);
  });
});
