import {
  type AdaptedLayer,
  type AdapterOptions,
  type FormSteps,
  type LayerStatistics,
  resolveOptions,
  selectLayers,
  type WeightForm,
} from '../adapters/index.ts';
import { fill, input, type NDArray, type Tensor, withGradient } from '../graph/index.ts';
import { random, transpose } from '../linalg/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { Context, LayerHook } from '../models/context.ts';
import type { Model } from '../models/model.ts';

/** A model with a weight form on some of its layers. */
export interface Adaptation {
  readonly form: WeightForm;
  readonly options: AdapterOptions;
  readonly layers: readonly AdaptedLayer[];
  readonly steps?: FormSteps;
}

/** Name of a layer's factor among a run's tensors. */
export function factorName(layer: string, factor: string): string {
  return `${layer}#${factor}`;
}

/** A layer's weight as out×in, copied where the checkpoint stores it the other way. */
export function canonicalWeight(model: Model, layer: LayerSpec): NDArray {
  const stored = model.weights.get(`${layer.name}.weight`)!;
  return layer.transposed ? transposed(stored) : stored;
}

/** Writes an out×in weight back in the checkpoint's storage. */
export function storeWeight(model: Model, layer: LayerSpec, weight: NDArray): void {
  const stored = model.weights.get(`${layer.name}.weight`)!;
  (stored.data as Float32Array).set((layer.transposed ? transposed(weight) : weight).data as Float32Array);
}

function discardWeight({ weights }: Model, { name }: LayerSpec): void {
  const key = `${name}.weight`;
  weights.set(key, { ...weights.get(key)!, data: new Float32Array(0) });
}

/** Names of the weights that a run lets go of. */
export function discardedWeights(adaptation: Adaptation | undefined): ReadonlySet<string> {
  return new Set(adaptation?.form.discardsBase ? adaptation.layers.map((l) => `${l.spec.name}.weight`) : []);
}

export function transposed(a: NDArray): NDArray {
  const [rows, cols] = a.shape;
  return { ...a, shape: [cols, rows], data: transpose({ rows, cols, data: a.data as Float32Array }).data };
}

/** What a form's start depends on besides the weights. */
export interface AdaptationStart {
  readonly seed: number;
  /** η of the run's first update that moves; exact for forms that have something measured. */
  readonly firstRate: number;
  readonly statistics?: (layer: LayerSpec) => LayerStatistics;
}

/**
 * Selects layers and draws or computes their factors. Forms that replace W₀ (PiSSA) change the model's weights; of those
 * that discard it nothing is left of a weight but its shape.
 */
export async function adapt(
  model: Model,
  form: WeightForm,
  options: AdapterOptions,
  { seed, firstRate, statistics = () => ({}) }: AdaptationStart,
): Promise<Adaptation> {
  const specs = selectLayers(model.architecture, options.targets, options.exclude, form.kinds);
  const layers: AdaptedLayer[] = [];
  for (const spec of specs) {
    const own = resolveOptions(options, spec);
    const factors = await form.init(spec, own, {
      weight: canonicalWeight(model, spec),
      statistics: statistics(spec),
      firstRate,
      random: (purpose) => random(seed, `init/${spec.name}/${purpose}`),
    });
    if (factors.base) storeWeight(model, spec, factors.base);
    if (form.discardsBase) discardWeight(model, spec);
    layers.push({ spec, options: own, trainable: factors.trainable, frozen: factors.frozen });
  }
  return { form, options, layers, steps: form.steps?.(options, layers) };
}

/** Symbols and hooks of an adaptation, for one trace. */
export interface AdaptationTrace {
  readonly hooks: ReadonlyMap<string, LayerHook>;
  /** The factor's input, by `factorName`. */
  factor(name: string): Tensor;
  /** Penalties of the layers that the trace has met so far; empty where the form has none. */
  penalties(): Tensor[];
  /** Tensors whose "gradients" are what the layers met so far observe, by `factorName`. */
  readonly observed: ReadonlyMap<string, Tensor>;
}

/** @param observing layers record what they observe */
export function traceAdaptation(adaptation: Adaptation, observing = false): AdaptationTrace {
  const { form } = adaptation;
  const observed = new Map<string, Tensor>();
  const inputs = new Map<string, Tensor>();
  const met = new Set<AdaptedLayer>();
  const factor = (name: string, array: NDArray): Tensor => {
    const known = inputs.get(name);
    if (known) return known;
    const fresh = input(name, array.shape, array.dtype);
    inputs.set(name, fresh);
    return fresh;
  };
  const symbols = (layer: AdaptedLayer) =>
    Object.fromEntries(
      Object.entries({ ...layer.frozen, ...layer.trainable }).map(([name, array]) => [
        name,
        factor(factorName(layer.spec.name, name), array),
      ]),
    );
  const hook =
    (layer: AdaptedLayer): LayerHook =>
    (x, base, c) => {
      met.add(layer);
      const p = symbols(layer);
      const own = observing ? { ...c, observe: observer(layer.spec.name, observed) } : c;
      if (form.forward) return form.forward(x, base, p, layer.options, own);
      return base.forwardWith(x, form.weight(base.weight, p, layer.options, layer.spec));
    };
  return {
    observed,
    hooks: new Map(adaptation.layers.map((layer) => [layer.spec.name, hook(layer)])),
    factor(name) {
      const [layerName, factorKey] = name.split('#');
      const layer = adaptation.layers.find((l) => l.spec.name === layerName)!;
      return factor(name, layer.trainable[factorKey] ?? layer.frozen[factorKey]);
    },
    penalties: () =>
      form.penalty ? [...met].map((l) => form.penalty!(symbols(l), l.options, adaptation.layers.length)) : [],
  };
}

/** What is observed of y becomes the gradient of a tensor that nothing depends on. */
function observer(layer: string, observed: Map<string, Tensor>): NonNullable<Context['observe']> {
  return (name, y, shape, of) => {
    const key = factorName(layer, name);
    const probe = observed.get(key) ?? fill(shape, 0);
    observed.set(key, probe);
    return withGradient(y, [y, probe], (g) => [g, of(g)]);
  };
}
