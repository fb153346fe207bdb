import {
  add,
  detach,
  div,
  linear,
  mul,
  type NDArray,
  type Shape,
  scale,
  slice,
  type Tensor,
  zeros,
} from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { BaseLayer, Context } from '../models/context.ts';
import { loraDelta, loraFactors, loraForward, loraScale, loraShapes } from './lora.ts';
import { deviations, gradientRows, squaredRows } from './lora-ggpo-norms.ts';
import { type LoraGgpoOptions, loraGgpoOptions } from './lora-ggpo-options.ts';
import { loraToPeft } from './lora-peft.ts';
import { type AdaptedLayer, defineForm, type FormSteps, type StepInfo, type Tensors } from './weight-form.ts';

function isQuiet({ mode, rho, sigma, noise }: LoraGgpoOptions): boolean {
  return mode === 'mgpo' ? rho === 0 : sigma === 0 && noise === 'variance';
}

/** x Eᵀ, E_ij ~ N(0, τ_i²), a constant to differentiation. */
function noised(x: Tensor, base: BaseLayer, p: Tensors, o: LoraGgpoOptions, c: Context): Tensor {
  const drawn = c.normal(base.weight.shape, `ggpo.${base.spec.name}`);
  return mul(linear(x, drawn), detach(deviations(base.weight, p, loraScale(o), o)));
}

/** The factors at ρ v/q from where they are; the gradient there is the factors' own. */
function moved(p: Tensors, { rho }: LoraGgpoOptions): Tensors {
  const along = (v: Tensor, at: number) => scale(div(v, add(slice(p.norms, 0, at, at + 1), 1e-12)), rho);
  return { ...p, A: add(p.A, along(p.vA, 0)), B: add(p.B, along(p.vB, 1)) };
}

/** γ of the next update's noise. */
function measureRows(info: StepInfo<LoraGgpoOptions>, layer: AdaptedLayer<LoraGgpoOptions>): void {
  const { A, B } = layer.trainable;
  const [dA, dB] = [info.gradient(layer, 'A'), info.gradient(layer, 'B')];
  (layer.frozen.gamma.data as Float32Array).set(gradientRows({ A, B, dA, dB }, loraScale(layer.options)));
}

/** v ← μ v + (1 − μ) g and q ← β q + (1 − β) ‖g‖ of either factor. */
function average(info: StepInfo<LoraGgpoOptions>, layer: AdaptedLayer<LoraGgpoOptions>): void {
  const { momentum, normDecay } = layer.options;
  const norms = layer.frozen.norms.data as Float32Array;
  for (const [at, name] of (['A', 'B'] as const).entries()) {
    const g = info.gradient(layer, name).data as Float32Array;
    const v = layer.frozen[`v${name}`].data as Float32Array;
    let squares = 0;
    for (let i = 0; i < g.length; i++) {
      v[i] = momentum * v[i] + (1 - momentum) * g[i];
      squares += g[i] * g[i];
    }
    norms[at] = normDecay * norms[at] + (1 - normDecay) * Math.sqrt(squares);
  }
}

function steps(o: LoraGgpoOptions): FormSteps<LoraGgpoOptions> {
  const keep = o.mode === 'ggpo' ? measureRows : average;
  return {
    state: {},
    afterGradient(info) {
      for (const layer of info.layers) keep(info, layer);
    },
  };
}

/** The mean row norm, squared, for every row. */
function meanRow(squares: Float64Array): Float64Array {
  const mean = squares.reduce((total, x) => total + Math.sqrt(x), 0) / squares.length;
  return squares.map(() => mean * mean);
}

function frozenShapes(layer: LayerSpec, { mode, rank }: LoraGgpoOptions): Record<string, Shape> {
  const [m, n] = [layer.out, layer.in];
  if (mode === 'ggpo') return { rows: [m], gamma: [m] };
  return { vA: [rank, n], vB: [m, rank], norms: [2] };
}

/**
 * LoRA-GGPO (Chang et al. 2025, arXiv 2502.14538): LoRA whose loss is taken at a perturbed weight while it trains, for flat
 * minima. Version 1: noise as large as the rows of weight and gradient are; version 2 (LoRA-MGPO): a move along the
 * momentum. Nothing is perturbed anywhere else.
 */
export const loraGgpo = defineForm<LoraGgpoOptions>({
  name: 'lora-ggpo',
  title:
    'LoRA-GGPO: Mitigating Double Descent in LoRA Fine-Tuning via Gradient-Guided Perturbation Optimization',
  paper: 'Chang et al., 2025, arXiv 2502.14538 (versions 1 and 2)',
  trainable: 'r (m + n)',
  whenToChoose: 'LoRA that overfits few or noisy examples over many epochs.',
  options: loraGgpoOptions,
  kinds: ['linear'],
  shapes: (layer, o) => ({ trainable: loraShapes(layer, o).trainable, frozen: frozenShapes(layer, o) }),
  init(layer, o, context) {
    const { trainable } = loraFactors(layer, o, context);
    const frozen: Record<string, NDArray> = Object.fromEntries(
      Object.entries(frozenShapes(layer, o)).map(([name, shape]) => [name, zeros(shape)]),
    );
    if (o.mode === 'ggpo') {
      const squares = squaredRows(context.weight);
      (frozen.rows.data as Float32Array).set(o.noise === 'sdscripts' ? meanRow(squares) : squares);
    }
    return { trainable, frozen };
  },
  productScale: loraScale,
  forward(x, base, p, o, c) {
    const at = c.training && o.mode === 'mgpo' && !isQuiet(o) ? moved(p, o) : p;
    const y = loraForward(loraScale(o), x, base, at, o, c);
    if (!c.training || o.mode === 'mgpo' || isQuiet(o)) return y;
    return add(y, noised(x, base, p, o, c));
  },
  weight: (base, p, o, layer) => add(base, loraDelta(loraScale(o), p, layer)),
  steps,
  toPeft: (layers, o) => loraToPeft(layers, o, {}),
});
