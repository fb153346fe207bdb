import { add, type NDArray, zeros } from '../graph/index.ts';
import { multiply } from '../linalg/index.ts';
import { leadingTriples } from './leading-triples.ts';
import { loraDelta, loraForward, loraParts, loraScale, loraWithStart } from './lora.ts';
import { loraToPeft } from './lora-peft.ts';
import { checkRank, type LoraOptions } from './options.ts';
import { defineForm, type ExportedFactors } from './weight-form.ts';

/**
 * PiSSA (Meng et al. 2024, arXiv 2404.02948): LoRA whose factors start as the principal singular triples of W₀, with
 * the residual frozen. The function is unchanged at the start.
 */
export const pissa = defineForm<LoraOptions>({
  ...loraParts,
  name: 'pissa',
  title: 'PiSSA: Principal Singular Values and Singular Vectors Adaptation',
  paper: 'Meng et al., NeurIPS 2024, arXiv 2404.02948',
  kinds: ['linear'],
  whenToChoose: 'Faster convergence than LoRA at one rank, for an SVD before the first step.',
  shapes: loraWithStart,
  init(layer, o, context) {
    checkRank('PiSSA', layer, o.rank);
    const [m, n, r] = [layer.out, layer.in, o.rank];
    const { u, s, vt } = leadingTriples(context.weight, r, context.random('svd'));
    const scale = loraScale(o);
    const [A, B] = [zeros([r, n]), zeros([m, r])];
    for (let k = 0; k < r; k++) {
      const root = Math.sqrt(s[k] / scale);
      for (let j = 0; j < n; j++) A.data[k * n + j] = root * vt.data[k * n + j];
      for (let i = 0; i < m; i++) B.data[i * r + k] = root * u.data[i * r + k];
    }
    const copy = (a: NDArray): NDArray => ({ ...a, data: a.data.slice() });
    return {
      trainable: { A, B },
      frozen: { A0: copy(A), B0: copy(B) },
      base: residual(context.weight, A, B, scale),
    };
  },
  productScale: loraScale,
  forward: (x, base, p, o, c) => loraForward(loraScale(o), x, base, p, o, c),
  weight: (base, p, o, layer) => add(base, loraDelta(loraScale(o), p, layer)),
  // On W₀ itself the change is s (B A − B₀ A₀): a LoRA of twice the rank, so alpha doubles too.
  toPeft: (layers, o) =>
    loraToPeft(layers.map(doubled), { ...o, rank: 2 * o.rank, alpha: 2 * (o.alpha ?? 2 * o.rank) }, {}),
});

function residual(weight: NDArray, A: NDArray, B: NDArray, scale: number): NDArray {
  const [m, n] = weight.shape;
  const r = A.shape[0];
  const product = multiply(
    { rows: m, cols: r, data: B.data as Float32Array },
    { rows: r, cols: n, data: A.data as Float32Array },
  );
  // `map`, not `from`: the latter gathers the numbers in a list of objects first.
  const data = (weight.data as Float32Array).map((w, i) => w - scale * product.data[i]);
  return { ...weight, data };
}

function doubled(layer: ExportedFactors<LoraOptions>): ExportedFactors<LoraOptions> {
  const { A, B, A0, B0 } = layer.arrays;
  const [r, n] = A.shape;
  const m = B.shape[0];
  const [wideA, wideB] = [zeros([2 * r, n]), zeros([m, 2 * r])];
  (wideA.data as Float32Array).set(A.data as Float32Array);
  (wideA.data as Float32Array).set(A0.data as Float32Array, r * n);
  for (let i = 0; i < m; i++)
    for (let k = 0; k < r; k++) {
      wideB.data[i * 2 * r + k] = B.data[i * r + k];
      wideB.data[i * 2 * r + r + k] = -Number(B0.data[i * r + k]);
    }
  const { options } = layer;
  return {
    ...layer,
    arrays: { A: wideA, B: wideB },
    options: { ...options, rank: 2 * options.rank, alpha: 2 * options.alpha! },
  };
}
