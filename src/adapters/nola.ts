import { add, matmul, type NDArray, reshape, type Tensor, zeros } from '../graph/index.ts';
import { loraDelta, loraForward } from './lora.ts';
import { productsToPeft } from './lora-peft.ts';
import { type BasisSide, mixture, nolaBasis, nolaSides } from './nola-basis.ts';
import { nolaFromFile, nolaToFile } from './nola-file.ts';
import { type NolaOptions, nolaOptions, nolaScale } from './nola-options.ts';
import { checkRank } from './options.ts';
import { defineForm, type Tensors } from './weight-form.ts';

/** A⁰ + Σ αᵢ Aᵢ and Σ βⱼ Bⱼ. */
function mixed(p: Tensors): { A: Tensor; B: Tensor } {
  const mix = (coefficients: Tensor, bases: Tensor) =>
    reshape(
      matmul(reshape(coefficients, [1, -1]), reshape(bases, [bases.shape[0], -1])),
      bases.shape.slice(1),
    );
  const A = mix(p.alpha, p.basesA);
  return { A: p.fixedA ? add(p.fixedA, A) : A, B: mix(p.beta, p.basesB) };
}

/** Zeros, or 1/k where the start is the mean of the bases. */
function coefficients(o: NolaOptions): NDArray {
  const array = zeros([o.bases]);
  if (o.start === 'mean') array.data.fill((1 / o.bases) as never);
  return array;
}

/**
 * NOLA (Koohpayegani et al. 2024, arXiv 2310.02556): LoRA whose A = A⁰ + Σ αᵢ Aᵢ and B = Σ βⱼ Bⱼ mix random matrices
 * that a seed names; only the coefficients are trained, however large the layer and the rank.
 */
export const nola = defineForm<NolaOptions>({
  name: 'nola',
  title: 'NOLA: Compressing LoRA using Linear Combination of Random Basis',
  paper: 'Koohpayegani et al., ICLR 2024, arXiv 2310.02556',
  trainable: '2 k, k bases a side',
  whenToChoose: 'Very many adapters to store: size is free of rank and width.',
  options: nolaOptions,
  kinds: ['linear'],
  sized: (bases) => ({ bases }),
  shapes(layer, { rank, bases, start }) {
    checkRank('NOLA', layer, rank);
    return {
      trainable: { alpha: [bases], beta: [bases] },
      frozen: {
        basesA: [bases, rank, layer.in],
        basesB: [bases, layer.out, rank],
        ...(start === 'zero' ? { fixedA: [rank, layer.in] } : {}),
      },
    };
  },
  init(layer, o) {
    checkRank('NOLA', layer, o.rank);
    return { trainable: { alpha: coefficients(o), beta: coefficients(o) }, frozen: nolaSides(layer, o) };
  },
  forward: (x, base, p, o, c) => loraForward(nolaScale(o), x, base, mixed(p), { ...o, alphaPattern: {} }, c),
  weight: (base, p, o, layer) => add(base, loraDelta(nolaScale(o), mixed(p), layer)),
  // The factors are mixed anew from the seed, a few bases at a time: what a reader of our own file would get.
  toPeft: (layers, o) =>
    productsToPeft(
      layers.map((layer) => {
        const { spec, options, arrays } = layer;
        const side = (name: BasisSide) =>
          mixture(nolaBasis(spec, options, name), arrays[name === 'A' ? 'alpha' : 'beta']);
        const B = side('B');
        const s = nolaScale(options);
        return { layer, A: side('A'), B: { ...B, data: (B.data as Float32Array).map((v) => v * s) } };
      }),
      o,
    ),
  toCompact: nolaToFile,
  fromPeft: nolaFromFile,
});
