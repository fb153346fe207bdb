import {
  add,
  detach,
  div,
  mul,
  type NDArray,
  reshape,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  zeros,
} from '../graph/index.ts';
import { loraDelta, loraFactors, loraForward, loraParts, loraScale, loraShapes } from './lora.ts';
import { loraFromPeft, loraToPeft } from './lora-peft.ts';
import type { LoraOptions } from './options.ts';
import { defineForm } from './weight-form.ts';

/** 2-norms of the rows of W ∈ R^{m×n}. */
function rowNorms(weight: NDArray): NDArray {
  const [m, n] = weight.shape;
  const norms = zeros([m]);
  for (let i = 0; i < m; i++) {
    let total = 0;
    for (let j = 0; j < n; j++) total += Number(weight.data[i * n + j]) ** 2;
    norms.data[i] = Math.sqrt(total);
  }
  return norms;
}

function norms(weight: Tensor): Tensor {
  return sqrt(sum(square(weight), 1));
}

/**
 * DoRA (Liu et al. 2024, arXiv 2402.09353), as in PEFT: W = g ∘ V/‖V‖_row with V = W₀ + s B A; the norm is constant to
 * differentiation (section 4.3).
 */
export const dora = defineForm<LoraOptions>({
  ...loraParts,
  name: 'dora',
  title: 'DoRA: Weight-Decomposed Low-Rank Adaptation',
  paper: 'Liu et al., ICML 2024, arXiv 2402.09353',
  trainable: 'r (m + n) + m',
  kinds: ['linear'],
  whenToChoose: 'Low ranks, where LoRA falls short of full fine-tuning, and step time is no concern.',
  shapes: (layer, o) => ({
    trainable: { ...loraShapes(layer, o).trainable, magnitude: [layer.out] },
    frozen: {},
  }),
  init(layer, o, context) {
    const { trainable } = loraFactors(layer, o, context);
    return { trainable: { ...trainable, magnitude: rowNorms(context.weight) }, frozen: {} };
  },
  productScale: loraScale,
  forward(x, base, p, o, c) {
    const s = loraScale(o);
    const ratio = div(p.magnitude, detach(norms(add(base.weight, loraDelta(s, p, base.spec)))));
    const withoutBias = { ...base, forward: (h: Tensor) => base.forwardWith(h, base.weight) };
    const scaled = (y: Tensor) => mul(base.bias ? sub(y, base.bias) : y, ratio);
    if (o.dropout === 0 || !c.training) {
      const y = scaled(loraForward(s, x, withoutBias, p, o, c));
      return base.bias ? add(y, base.bias) : y;
    }
    // Only the adapter's path is dropped: base(x) + (g/‖V‖ − 1) x W₀ᵀ + (g/‖V‖) s x' Aᵀ Bᵀ.
    const y = loraForward(s, x, base, p, o, c);
    const plain = base.forward(x);
    const own = base.bias ? sub(plain, base.bias) : plain;
    return add(add(plain, mul(own, sub(ratio, 1))), mul(sub(y, plain), ratio));
  },
  weight(base, p, o, layer) {
    const v = add(base, loraDelta(loraScale(o), p, layer));
    return mul(v, reshape(div(p.magnitude, detach(norms(v))), [layer.out, 1]));
  },
  toPeft: (layers, o) => loraToPeft(layers, o, { use_dora: true }),
  fromPeft: (adapter, layers) => loraFromPeft(adapter, layers, { dora: true }),
});
