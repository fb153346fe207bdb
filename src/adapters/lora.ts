import { add, gather, matmul, type NDArray, scale, type Tensor, transpose, zeros } from '../graph/index.ts';
import type { Random } from '../linalg/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { BaseLayer, Context } from '../models/context.ts';
import { loraFromPeft, loraToPeft } from './lora-peft.ts';
import { checkRank, type LoraOptions, loraOptions } from './options.ts';
import { type RestartOptions, restartFields, restartSteps } from './restart.ts';
import {
  defineForm,
  type FactorShapes,
  type Factors,
  type InitContext,
  type Tensors,
} from './weight-form.ts';

/** s = α/r. */
export function loraScale(options: LoraOptions): number {
  return options.alpha! / options.rank;
}

/** Kaiming-uniform with a = √5, as PEFT: U(−1/√n, 1/√n). */
export function kaimingUniform(shape: readonly [number, number], random: Random): NDArray {
  const array = zeros(shape);
  const data = array.data as Float32Array;
  random.fillUniform(data);
  const bound = 1 / Math.sqrt(shape[1]);
  for (let i = 0; i < data.length; i++) data[i] = (2 * data[i] - 1) * bound;
  return array;
}

export function loraShapes(layer: LayerSpec, { rank }: { rank: number }): FactorShapes {
  checkRank('LoRA', layer, rank);
  const [m, n] = layer.kind === 'embedding' ? [layer.in, layer.out] : [layer.out, layer.in];
  return { trainable: { A: [rank, n], B: [m, rank] }, frozen: {} };
}

/** With the start kept beside the factors, for forms that begin elsewhere than at zero. */
export function loraWithStart(layer: LayerSpec, options: { rank: number }): FactorShapes {
  const { trainable } = loraShapes(layer, options);
  return { trainable, frozen: { A0: trainable.A, B0: trainable.B } };
}

/** A ∈ R^{r×n} random, B ∈ R^{m×r} zero: ΔW = 0 at the start. */
export function loraFactors(layer: LayerSpec, options: LoraOptions, context: InitContext): Factors {
  checkRank('LoRA', layer, options.rank);
  // PEFT draws an embedding's factors the other way round: A zero, B normal.
  if (layer.kind === 'embedding') {
    const B = zeros([layer.in, options.rank]);
    context.random('B').fillNormal(B.data as Float32Array);
    return { trainable: { A: zeros([options.rank, layer.out]), B }, frozen: {} };
  }
  const A = kaimingUniform([options.rank, layer.in], context.random('A'));
  return { trainable: { A, B: zeros([layer.out, options.rank]) }, frozen: {} };
}

/** y = base(x) + s · dropout(x) Aᵀ Bᵀ. */
export function loraForward(
  s: number,
  x: Tensor,
  base: BaseLayer,
  p: Tensors,
  o: LoraOptions,
  c: Context,
): Tensor {
  if (base.spec.kind === 'embedding') {
    const rows = gather(transpose(p.A), x);
    return add(base.forward(x), matmul(rows, p.B, { transB: true, alpha: s }));
  }
  const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
  const low = matmul(dropped, p.A, { transB: true });
  return add(base.forward(x), matmul(low, p.B, { transB: true, alpha: s }));
}

/** ΔW = s B A, or its transpose for an embedding table. */
export function loraDelta(s: number, p: Tensors, layer: LayerSpec): Tensor {
  const delta = scale(matmul(p.B, p.A), s);
  return layer.kind === 'embedding' ? transpose(delta) : delta;
}

/** A plain LoRA with another scale or start is this with parts replaced. */
export const loraParts = {
  trainable: 'r (m + n)',
  options: loraOptions,
  kinds: ['linear', 'embedding'] as const,
  shapes: loraShapes,
  init: loraFactors,
};

/** LoRA (Hu et al. 2021, arXiv 2106.09685): W = W₀ + (α/r) B A. */
export const lora = defineForm<LoraOptions & RestartOptions>({
  ...loraParts,
  options: loraOptions.extend(restartFields),
  name: 'lora',
  title: 'LoRA: Low-Rank Adaptation of Large Language Models',
  paper: 'Hu et al., ICLR 2022, arXiv 2106.09685',
  whenToChoose: 'The default: cheap, well understood, loaded by every tool.',
  productScale: loraScale,
  forward: (x, base, p, o, c) => loraForward(loraScale(o), x, base, p, o, c),
  weight: (base, p, o, layer) => add(base, loraDelta(loraScale(o), p, layer)),
  steps: (o) => restartSteps('LoRA', o),
  toPeft: (layers, o) => loraToPeft(layers, o, {}),
  fromPeft: (adapter, layers) => loraFromPeft(adapter, layers, {}),
});
