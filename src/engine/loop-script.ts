import type { TypedArray } from '../graph/array.ts';
import type { Tensor } from '../graph/tensor.ts';
import { inputIndex, isSingle, type LoopBody, type LoopPlan } from './loop-plan.ts';

type Generated = (f: readonly TypedArray[], o: readonly TypedArray[], n: number) => void;

type Singles = (f: readonly TypedArray[]) => number[];

// By source: the rules of an optimizer are many and nearly all alike, and what is generated anew never runs hot.
const compiled = new Map<string, Generated>();
const compiledSingles = new Map<string, Singles>();

/** A plan as one JavaScript loop. Arithmetic is float64 inside, rounded on store. */
export function scriptBody(plan: LoopPlan): LoopBody {
  const source = loopSource(plan);
  let body = compiled.get(source);
  if (!body) {
    body = new Function('f', 'o', 'n', source) as Generated;
    compiled.set(source, body);
  }
  const run = body;
  return (feeds, into) => run(feeds, into, plan.n);
}

/** The values of a plan's single numbers, for the inputs' arrays. */
export function singlesScript(plan: LoopPlan, wanted: readonly Tensor[]): Singles {
  const { names, before } = statements(plan);
  const results = wanted.map((t) => names.get(t));
  const source = `${before.join('\n')}\nreturn [${results.join(', ')}];`;
  let singles = compiledSingles.get(source);
  if (!singles) {
    singles = new Function('f', source) as Singles;
    compiledSingles.set(source, singles);
  }
  return singles;
}

function loopSource(plan: LoopPlan): string {
  const { names, before, inside } = statements(plan);
  plan.places.forEach((place, i) => {
    if (place < 0) before.push(`const o${i} = o[${i}];`);
  });
  // An array that is read and written has one name: each more costs the loop a quarter of its speed.
  const target = (i: number) => (plan.places[i] < 0 ? `o${i}` : `f${plan.places[i]}`);
  const stores = plan.outputs.map((t, i) => `${target(i)}[i] = ${names.get(t)};`);
  return `${before.join('\n')}\nfor (let i = 0; i < n; i++) {\n${inside.join('\n')}\n${stores.join('\n')}\n}`;
}

function statements({ order, inputs, n }: LoopPlan) {
  const names = new Map<Tensor, string>();
  const before = inputs.map((_, i) => `const f${i} = f[${i}];`);
  const inside: string[] = [];
  order.forEach((node, k) => {
    const [t] = node.outputs;
    const single = isSingle(t, n);
    const index = inputIndex(node, inputs);
    const operands = node.inputs.map((x) => names.get(x)!);
    const expression =
      index >= 0 ? `f${index}[${single ? 0 : 'i'}]` : node.op.expression!(operands, node.attributes);
    names.set(t, `v${k}`);
    (single ? before : inside).push(`const v${k} = ${expression};`);
  });
  return { names, before, inside };
}
