import { z } from 'zod';
import { add, matmul, type NDArray, scale, zeros } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { leadingTriples } from './leading-triples.ts';
import { kaimingUniform } from './lora.ts';
import { adapterOptions, checkRank, loraOptions } from './options.ts';
import { restartFields, restartSteps } from './restart.ts';
import { defineForm, type InitContext } from './weight-form.ts';

const lowRankOptions = adapterOptions.extend({
  rank: z.int().positive().default(128).describe('rank of the weights'),
  alpha: z.number().positive().default(32).describe('weights are scaled by alpha / rank'),
  init: z
    .enum(['kaiming', 'normal', 'spectral'])
    .default('kaiming')
    .describe('both factors random, or the leading singular triples of W₀'),
  rankPattern: loraOptions.shape.rankPattern,
  ...restartFields,
});

type LowRankOptions = z.infer<typeof lowRankOptions>;

/** Standard deviation of a fresh weight of the Llama family, reached by the product. */
const FRESH = 0.02;

function randomFactors(layer: LayerSpec, o: LowRankOptions, context: InitContext) {
  const { rank, alpha } = o;
  if (o.init === 'kaiming')
    return {
      A: kaimingUniform([rank, layer.in], context.random('A')),
      B: kaimingUniform([layer.out, rank], context.random('B')),
    };
  // Var(s B A) = s² r σ⁴ = FRESH².
  const std = Math.sqrt((FRESH * rank) / (alpha * Math.sqrt(rank)));
  const draw = (name: string, shape: readonly [number, number]) => {
    const a = zeros(shape);
    context.random(name).fillNormal(a.data as Float32Array);
    for (let i = 0; i < a.data.length; i++) a.data[i] = std * Number(a.data[i]);
    return a;
  };
  return { A: draw('A', [rank, layer.in]), B: draw('B', [layer.out, rank]) };
}

/** s B A is the best approximation of W₀ at this rank, split evenly. */
function spectralFactors(weight: NDArray, { rank: r, alpha }: LowRankOptions, context: InitContext) {
  const [m, n] = weight.shape;
  const { u, s, vt } = leadingTriples(weight, r, context.random('svd'));
  const [A, B] = [zeros([r, n]), zeros([m, r])];
  for (let k = 0; k < r; k++) {
    const root = Math.sqrt((s[k] * r) / alpha);
    for (let j = 0; j < n; j++) A.data[k * n + j] = root * vt.data[k * n + j];
    for (let i = 0; i < m; i++) B.data[i * r + k] = root * u.data[i * r + k];
  }
  return { A, B };
}

/**
 * Low-rank factorized training, the baseline of GaLore's and SLTrain's tables (also Kamalakara et al. 2022,
 * arXiv 2209.13569): W = (α/r) B A alone, without W₀; both factors train.
 */
export const lowRank = defineForm<LowRankOptions>({
  name: 'low-rank',
  title: 'Exploring Low Rank Training of Deep Neural Networks',
  paper: 'Kamalakara et al., 2022, arXiv 2209.13569',
  trainable: 'r (m + n)',
  whenToChoose: 'A control in pretraining, or a smaller model from the singular triples of a trained one.',
  options: lowRankOptions,
  kinds: ['linear'],
  startsAtBase: false,
  discardsBase: true,
  shapes(layer, { rank }) {
    checkRank('Low-rank training', layer, rank);
    return { trainable: { A: [rank, layer.in], B: [layer.out, rank] }, frozen: {} };
  },
  init(layer, o, context) {
    checkRank('Low-rank training', layer, o.rank);
    const factors =
      o.init === 'spectral' ? spectralFactors(context.weight, o, context) : randomFactors(layer, o, context);
    return { trainable: factors, frozen: {} };
  },
  productScale: (o) => o.alpha / o.rank,
  forward(x, base, p, o) {
    const y = matmul(matmul(x, p.A, { transB: true }), p.B, { transB: true, alpha: o.alpha / o.rank });
    return base.bias ? add(y, base.bias) : y;
  },
  weight: (_, p, o) => scale(matmul(p.B, p.A), o.alpha / o.rank),
  steps: (o) => restartSteps('Low-rank training', o),
});
