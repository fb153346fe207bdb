import { RankineError } from '../errors.ts';
import {
  conv2d,
  gather,
  input,
  linear,
  mul,
  type Shape,
  type Tensor,
  transpose,
  type Window,
  where,
} from '../graph/index.ts';
import type { Architecture, LayerSpec } from './architecture.ts';

/** A layer as a weight form sees it: its frozen weight in out×in form, whatever the checkpoint's storage. */
export interface BaseLayer {
  readonly spec: LayerSpec;
  /** W₀ ∈ R^{out×in}; conv2d: [out, in, rows, columns]; embedding: [rows, width]. */
  readonly weight: Tensor;
  readonly bias?: Tensor;
  /** The unadapted layer. */
  forward(x: Tensor): Tensor;
  /** The same layer with another out×in weight. */
  forwardWith(x: Tensor, weight: Tensor): Tensor;
}

/** Where weight forms enter: returns the layer's output, or undefined to leave the layer as it is. */
export type LayerHook = (x: Tensor, base: BaseLayer, c: Context) => Tensor | undefined;

/** Keys and values of earlier positions, for generation. */
export interface CacheHook {
  /** Past keys and values of a block, [B, kvHeads, capacity, headDim] each. */
  past(block: number): { keys: Tensor; values: Tensor };
  /** Additive mask over the past, [B, 1, 1, capacity]: 0 where filled, very negative elsewhere. */
  readonly pastMask: Tensor;
  /** Receives the new positions' keys and values, [B, kvHeads, T, headDim]. */
  present(block: number, keys: Tensor, values: Tensor): void;
}

/** Random tensors that a trace asks for; the engine's user fills them by (seed, step, name). */
export interface NoiseSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly kind: 'bernoulli' | 'normal';
  /** Bernoulli: probability of 1. */
  readonly keep?: number;
}

/** The one door through which a model reaches its tensors. */
export interface Context {
  readonly training: boolean;
  readonly cache?: CacheHook;
  /** A parameter by its checkpoint name, as stored. */
  parameter(name: string): Tensor;
  linear(name: string, x: Tensor): Tensor;
  embedding(name: string, ids: Tensor): Tensor;
  conv2d(name: string, x: Tensor, window: Partial<Window>): Tensor;
  /** True where a weight form sits on the layer. */
  adapted(name: string): boolean;
  /** Zeroes elements with probability p and scales the rest, in training only. */
  dropout(x: Tensor, p: number, name: string): Tensor;
  /** Standard normal numbers, drawn anew for every batch of training. */
  normal(shape: Shape, name: string): Tensor;
  /**
   * For a weight form: returns y and records, under a name of the layer's own, what `of` makes of ∂L/∂y, of this shape,
   * summed over an update's batches. Absent where nothing is recorded: outside training, and between observed updates.
   */
  observe?(name: string, y: Tensor, shape: Shape, of: (gradient: Tensor) => Tensor): Tensor;
}

export interface ContextOptions {
  training?: boolean;
  cache?: CacheHook;
  /** Weight form of a layer, by name. */
  hooks?: ReadonlyMap<string, LayerHook>;
  /** Replaces tensors of the base by others (a trainable copy, a perturbed one). */
  substitute?: (name: string) => Tensor | undefined;
}

/** A context that traces: parameters become inputs named as in the checkpoint. `noise` collects what must be drawn. */
export function traceContext(
  architecture: Architecture,
  options: ContextOptions = {},
): Context & { noise: Map<string, NoiseSpec> } {
  const layers = new Map(architecture.layers.map((l) => [l.name, l]));
  const inputs = new Map<string, Tensor>();
  const noise = new Map<string, NoiseSpec>();
  const training = options.training ?? false;

  const parameter = (name: string): Tensor => {
    const spec = architecture.parameters.get(name);
    if (!spec)
      throw new RankineError('models/unknown-parameter', `${architecture.type} has no parameter "${name}".`);
    const known = inputs.get(name);
    if (known) return known;
    const tensor = options.substitute?.(name) ?? input(name, spec.shape);
    inputs.set(name, tensor);
    return tensor;
  };

  const layer = (name: string): LayerSpec => {
    const spec = layers.get(name);
    if (!spec) throw new RankineError('models/unknown-layer', `${architecture.type} has no layer "${name}".`);
    return spec;
  };

  const through = (base: BaseLayer, x: Tensor): Tensor =>
    options.hooks?.get(base.spec.name)?.(x, base, context) ?? base.forward(x);

  const context: Context & { noise: Map<string, NoiseSpec> } = {
    training,
    cache: options.cache,
    noise,
    parameter,
    adapted: (name) => options.hooks?.has(name) ?? false,
    linear(name, x) {
      const spec = layer(name);
      const stored = parameter(`${name}.weight`);
      const bias = spec.bias ? parameter(`${name}.bias`) : undefined;
      const weight = spec.transposed ? transpose(stored) : stored;
      return through(
        {
          spec,
          weight,
          bias,
          forward: (h) => linear(h, weight, bias),
          forwardWith: (h, w) => linear(h, w, bias),
        },
        x,
      );
    },
    embedding(name, ids) {
      const weight = parameter(`${name}.weight`);
      const forwardWith = (_: Tensor, w: Tensor) => gather(w, ids);
      return through({ spec: layer(name), weight, forward: () => gather(weight, ids), forwardWith }, ids);
    },
    conv2d(name, x, window) {
      const spec = layer(name);
      const weight = parameter(`${name}.weight`);
      const bias = spec.bias ? parameter(`${name}.bias`) : undefined;
      const forwardWith = (h: Tensor, w: Tensor) => conv2d(h, w, bias, window);
      return through({ spec, weight, bias, forward: (h) => forwardWith(h, weight), forwardWith }, x);
    },
    normal(shape, name) {
      const spec: NoiseSpec = { name: `noise:${name}`, shape, kind: 'normal' };
      noise.set(spec.name, spec);
      return input(spec.name, shape);
    },
    dropout(x, p, name) {
      if (!training || p === 0) return x;
      const spec: NoiseSpec = { name: `noise:${name}`, shape: x.shape, kind: 'bernoulli', keep: 1 - p };
      noise.set(spec.name, spec);
      return mul(where(input(spec.name, x.shape, 'bool'), x, 0), 1 / (1 - p));
    },
  };
  return context;
}
