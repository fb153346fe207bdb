import { z } from 'zod';
import { abs, add, detach, matmul, mul, reshape, sub, type Tensor } from '../graph/index.ts';
import { alloraFields, alloraNorm, falling, rowFactors } from './allora-factor.ts';
import { loraDelta, loraFactors, loraShapes } from './lora.ts';
import { productsToPeft } from './lora-peft.ts';
import { adapterOptions, loraOptions } from './options.ts';
import { defineForm, type Tensors } from './weight-form.ts';

const alloraOptions = adapterOptions.extend({
  ...alloraFields,
  norm: z
    .enum([...alloraNorm.options, 'output'])
    .default('delta-row')
    .describe('rows of the change, rows of B, the whole change, or the change’s outputs, each of its own'),
  rankPattern: loraOptions.shape.rankPattern,
});

export type AlloraOptions = z.infer<typeof alloraOptions>;

function product(x: Tensor, A: Tensor, B: Tensor): Tensor {
  return matmul(matmul(x, A, { transB: true }), B, { transB: true });
}

/** κ that broadcasts over y (…×m), a constant to differentiation. */
function factorOf(y: Tensor, { A, B }: Tensors, { norm, ...o }: AlloraOptions): Tensor {
  if (norm === 'output') return detach(falling(abs(y), o));
  const factors = rowFactors(A, B, { ...o, norm });
  return detach(reshape(factors, [factors.shape[0]]));
}

/**
 * ALLoRA in its literal reading (Huang and Balestriero 2024, arXiv 2410.09692): LoRA without scale and dropout, the
 * gradients of whose factors come from ∂L/∂y multiplied, row by row, by a factor that falls as the row's change grows.
 * The gradient of x stays true. For Adam, which cancels such factors, the optimizer `allora` on plain LoRA scales steps.
 */
export const allora = defineForm<AlloraOptions>({
  name: 'allora',
  title: 'ALLoRA: Adaptive Learning Rate Mitigates LoRA Fatal Flaws',
  paper: 'Huang and Balestriero, 2024, arXiv 2410.09692',
  trainable: 'r (m + n)',
  whenToChoose: 'Few samples and few steps with SGD; with Adam, LoRA and the optimizer allora.',
  options: alloraOptions,
  kinds: ['linear'],
  shapes: loraShapes,
  init: (layer, o, context) => loraFactors(layer, { ...o, dropout: 0, alphaPattern: {} }, context),
  forward(x, base, p, o, c) {
    const y = product(x, detach(p.A), detach(p.B));
    if (!c.training) return add(base.forward(x), y);
    // Zero, with the factors' gradients: y's own go to x alone.
    const learned = product(detach(x), p.A, p.B);
    const change = mul(sub(learned, detach(learned)), factorOf(y, p, o));
    return add(base.forward(x), add(y, change));
  },
  weight: (base, p, _, layer) => add(base, loraDelta(1, p, layer)),
  toPeft: (layers, o) =>
    productsToPeft(
      layers.map((layer) => ({ layer, A: layer.arrays.A, B: layer.arrays.B })),
      { ...o, dropout: 0 },
    ),
});
