import { expect } from 'vitest';
import type { PeftAdapter } from '../formats/peft.ts';
import {
  constant,
  conv2d,
  type DType,
  evaluate,
  fill,
  gather,
  gradients,
  input,
  linear,
  mul,
  type NDArray,
  program,
  type Shape,
  sum,
  type Tensor,
  withGradient,
  zeros,
} from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { BaseLayer, Context } from '../models/context.ts';
import { type AdapterOptions, resolveOptions } from './options.ts';
import type { ExportedFactors, Factors, LayerStatistics, Tensors, WeightForm } from './weight-form.ts';

/** A layer with a form on it, started. */
export interface Started {
  readonly form: WeightForm;
  readonly spec: LayerSpec;
  readonly options: AdapterOptions;
  /** W₀, and what the form left of it. */
  readonly original: NDArray;
  readonly base: NDArray;
  readonly factors: Factors;
}

export function layer(out: number, inputs: number, rest: Partial<LayerSpec> = {}): LayerSpec {
  return { name: `h.0.m${out}x${inputs}`, kind: 'linear', out, in: inputs, ...rest };
}

export function normal(shape: readonly number[], seed: number, std = 1): NDArray {
  const a = zeros(shape);
  random(seed, 'test').fillNormal(a.data as Float32Array);
  for (let i = 0; i < a.data.length; i++) a.data[i] = Number(a.data[i]) * std;
  return a;
}

/** Starts a form on a layer with a random weight (or the given one). */
export async function start(
  form: WeightForm,
  spec: LayerSpec,
  options: Record<string, unknown> = {},
  given: { weight?: NDArray; seed?: number; statistics?: LayerStatistics } = {},
): Promise<Started> {
  const parsed = resolveOptions(form.options.parse(options) as AdapterOptions, spec);
  const original = given.weight ?? normal([spec.out, spec.in], 7);
  const factors = await form.init(spec, parsed, {
    weight: original,
    statistics: given.statistics ?? {},
    firstRate: 1e-3,
    random: (purpose) => random(given.seed ?? 1, `init/${spec.name}/${purpose}`),
  });
  return { form, spec, options: parsed, original, base: factors.base ?? original, factors };
}

/** The same with noise on every trainable factor, as if trained for a while. */
export function shaken(s: Started, std = 0.3): Started {
  const trainable = Object.fromEntries(
    Object.entries(s.factors.trainable).map(([name, a], i) => {
      const noise = normal(a.shape, 100 + i, std);
      return [
        name,
        { ...a, data: Float32Array.from(noise.data as Float32Array, (v, j) => v + Number(a.data[j])) },
      ];
    }),
  );
  return { ...s, factors: { ...s.factors, trainable } };
}

/** The layer without its form, on W₀ or another weight. */
export function unadapted(s: Started, base = s.original): Started {
  return { ...s, base, form: { ...s.form, forward: undefined, weight: (w) => w } };
}

/** The same layer as a form reads it from an adapter's file, on W₀. */
export function asRead(s: Started, form: WeightForm, file: PeftAdapter): Started {
  const { options, factors } = form.fromPeft!(file, [s.spec]);
  const own = factors.get(s.spec.name)!;
  const base = own.base ?? s.original;
  return { ...s, form, options: resolveOptions(options, s.spec), base, factors: own };
}

export function withFactors(s: Started, trainable: Record<string, NDArray>): Started {
  return { ...s, factors: { ...s.factors, trainable: { ...s.factors.trainable, ...trainable } } };
}

export function arraysOf(s: Started): Record<string, NDArray> {
  return { ...s.factors.frozen, ...s.factors.trainable };
}

export function exported(s: Started): ExportedFactors {
  return { spec: s.spec, options: s.options, arrays: arraysOf(s), fanInFanOut: s.spec.transposed ?? false };
}

function symbols(arrays: Record<string, NDArray>): Tensors {
  return Object.fromEntries(Object.entries(arrays).map(([k, a]) => [k, input(k, a.shape, a.dtype)]));
}

function baseLayer(spec: LayerSpec, weight: Tensor): BaseLayer {
  const forwardWith = (x: Tensor, w: Tensor) =>
    spec.kind === 'linear' ? linear(x, w) : spec.kind === 'embedding' ? gather(w, x) : conv2d(x, w);
  return { spec, weight, forwardWith, forward: (x) => forwardWith(x, weight) };
}

/** A context that drops by the mask `drop:<layer>` which the test feeds; with `observed`, one that collects there. */
function context(training: boolean, observed?: Map<string, Tensor>): Context {
  const missing = () => {
    throw new Error('not part of this test');
  };
  return {
    training,
    parameter: missing,
    linear: missing,
    embedding: missing,
    conv2d: missing,
    adapted: () => true,
    normal: (shape) => constant(normal(shape, 77)),
    dropout: (x, p) => (training && p > 0 ? mul(x, input('drop', x.shape)) : x),
    ...(observed && {
      observe(name, y, shape, of) {
        const probe = fill(shape, 0);
        observed.set(name, probe);
        return withGradient(y, [y, probe], (g) => [g, of(g)]);
      },
    }),
  };
}

/** W in float64 arithmetic. */
export function weightOf(s: Started): NDArray {
  const arrays = arraysOf(s);
  const w = s.form.weight(input('base', s.base.shape), symbols(arrays), s.options, s.spec);
  return evaluate(program({ w }), { base: s.base, ...arrays }).w;
}

interface Traced {
  y: Tensor;
  inputs: Tensors;
  base: Tensor;
}

export function trace(s: Started, x: NDArray, training = false, observed?: Map<string, Tensor>): Traced {
  const inputs = symbols(arraysOf(s));
  const weight = input('base', s.base.shape);
  const base = baseLayer(s.spec, weight);
  const xs = input('x', x.shape, x.dtype);
  const y = s.form.forward
    ? s.form.forward(xs, base, inputs, s.options, context(training, observed))
    : base.forwardWith(xs, s.form.weight(weight, inputs, s.options, s.spec));
  return { y, inputs, base: weight };
}

/** The layer's output without bias. */
export function outputOf(
  s: Started,
  x: NDArray,
  extra: { training?: boolean; drop?: NDArray } = {},
): NDArray {
  const { y } = trace(s, x, extra.training);
  return evaluate(program({ y }), {
    base: s.base,
    x,
    ...(extra.drop ? { drop: extra.drop } : {}),
    ...arraysOf(s),
  }).y;
}

const wide = (a: NDArray): NDArray =>
  a.dtype === 'float32' ? { ...a, data: Float64Array.from(a.data as Float32Array) } : a;

/** Gradients of Σ y ∘ direction in the trainable factors, float64. */
export function gradientsOf(s: Started, x: NDArray, training = true): Record<string, NDArray> {
  const { y, inputs } = trace(s, x, training);
  const names = Object.keys(s.factors.trainable);
  const direction = normal(y.shape, 55);
  const g = gradients(
    sum(mul(y, input('direction', y.shape))),
    names.map((n) => inputs[n]),
  );
  const outputs = Object.fromEntries(names.map((n, i) => [n, g[i]]));
  return evaluate(program(outputs), { base: s.base, x, direction, ...arraysOf(s) });
}

/** ∂(Σ y ∘ direction)/∂W at the form's weight, as a run that trains the whole weight has it, out×in. */
export function fullGradientOf(s: Started, x: NDArray): NDArray {
  const merged = unadapted(s, weightOf(s));
  const { y, base } = trace(merged, x);
  const [g] = gradients(y, [base], input('direction', y.shape));
  return evaluate(program({ g }), { base: merged.base, x, direction: normal(y.shape, 55) }).g;
}

/** What the form observes of the same, by name. */
export function observedOf(s: Started, x: NDArray): Record<string, NDArray> {
  const observed = new Map<string, Tensor>();
  const { y } = trace(s, x, true, observed);
  const direction = normal(y.shape, 55);
  const probes = gradients(sum(mul(y, input('direction', y.shape))), [...observed.values()]);
  const outputs = Object.fromEntries([...observed.keys()].map((name, i) => [name, probes[i]]));
  const p = program(outputs);
  const feeds: Record<string, NDArray> = { base: s.base, x, direction, ...arraysOf(s) };
  return evaluate(p, Object.fromEntries(p.inputs.map(({ name }) => [name, feeds[name]])));
}

/** Derived gradients against central differences, for every trainable factor. */
export function checkGradients(s: Started, x: NDArray, training = true): void {
  const { y } = trace(s, x, training);
  const direction = normal(y.shape, 55);
  const feeds: Record<string, NDArray> = Object.fromEntries(
    Object.entries({ base: s.base, x, ...arraysOf(s) }).map(([k, a]) => [k, wide(a)]),
  );
  const value = program({ y: sum(mul(y, input('direction', y.shape))) });
  const at = () => Number(evaluate(value, { ...feeds, direction }).y.data[0]);
  const derived = gradientsOf(s, x, training);
  for (const name of Object.keys(s.factors.trainable)) {
    const data = feeds[name].data as Float64Array;
    const picks = data.length <= 12 ? [...data.keys()] : [...data.keys()].filter((i) => i % 7 === 0);
    for (const i of picks) {
      const kept = data[i];
      const h = 1e-4;
      data[i] = kept + h;
      const up = at();
      data[i] = kept - h;
      const numeric = (up - at()) / (2 * h);
      data[i] = kept;
      const own = Number(derived[name].data[i]);
      expect(Math.abs(own - numeric), `${name}[${i}]: ${own}, ${numeric}`).toBeLessThan(
        1e-5 * Math.max(1, Math.abs(numeric)),
      );
    }
  }
}

export function maxDifference(a: NDArray, b: NDArray): number {
  expect(a.shape).toEqual(b.shape);
  let most = 0;
  for (let i = 0; i < a.data.length; i++)
    most = Math.max(most, Math.abs(Number(a.data[i]) - Number(b.data[i])));
  return most;
}

/** forward(x) = x weight(W₀)ᵀ. */
export function checkForwardIsWeight(s: Started, x: NDArray): void {
  const expected = outputOf(unadapted(s, weightOf(s)), x);
  expect(maxDifference(outputOf(s, x), expected)).toBeLessThan(1e-9);
}

export function counts(a: Readonly<Record<string, NDArray>>): number {
  return Object.values(a).reduce((n, x) => n + x.data.length, 0);
}

/** shapes() tells what init() and steps() make: names, order, shapes, types and size. */
export function checkShapes(s: Started): void {
  const shapes = s.form.shapes(s.spec, s.options);
  const { trainable, frozen, dtypes = {}, shared = [], state = 0, parts = {} } = shapes;
  expect(listed(s.factors.trainable)).toEqual(described(trainable, dtypes));
  expect(listed(s.factors.frozen)).toEqual(described(frozen, dtypes));
  for (const name of shared) expect(Object.keys(frozen)).toContain(name);
  const layers = [{ spec: s.spec, options: s.options, ...s.factors }];
  const steps = s.form.steps?.(s.options, layers);
  expect(counts(steps?.state ?? {})).toBe(state);
  for (const [name, rows] of Object.entries(parts)) {
    expect(rows.reduce((n, count) => n + count, 0)).toBe(trainable[name][0]);
    expect(steps?.afterGradient ?? steps?.afterStep).toBeDefined();
  }
  // Which hooks there are must not depend on layers: the memory estimate asks before there are any.
  expect(Object.keys(s.form.steps?.(s.options, []) ?? {})).toEqual(Object.keys(steps ?? {}));
}

function listed(arrays: Readonly<Record<string, NDArray>>) {
  return Object.entries(arrays).map(([name, { shape, dtype }]) => [name, [...shape], dtype]);
}

function described(shapes: Readonly<Record<string, Shape>>, dtypes: Readonly<Record<string, DType>>) {
  return Object.entries(shapes).map(([name, shape]) => [name, [...shape], dtypes[name] ?? 'float32']);
}

/** Numerical rank of a − b. */
export function rankOf(
  values: NDArray,
  svd: (m: { rows: number; cols: number; data: Float64Array }) => { s: Float64Array },
): number {
  const [rows, cols] = values.shape;
  const { s } = svd({ rows, cols, data: Float64Array.from(values.data as Float64Array) });
  return s.filter((x) => x > 1e-6 * Math.max(s[0], 1e-30)).length;
}

export function minus(a: NDArray, b: NDArray): NDArray {
  return { ...a, data: Float64Array.from(a.data as Float64Array, (x, i) => x - Number(b.data[i])) };
}

/** Flops of the matrix products that `outputs` need, 2·m·k·n each. */
export function matmulFlops(outputs: readonly Tensor[]): number {
  const seen = new Set<unknown>();
  let flops = 0;
  const visit = (t: Tensor) => {
    if (seen.has(t.node)) return;
    seen.add(t.node);
    if (t.node.op.name === 'matmul') {
      const [a] = t.node.inputs;
      const k = a.shape[a.shape.length - (t.node.attributes.transA ? 2 : 1)];
      flops += 2 * k * t.shape.reduce((n, d) => n * d, 1);
    }
    t.node.inputs.forEach(visit);
  };
  outputs.forEach(visit);
  return flops;
}
