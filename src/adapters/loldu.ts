import { z } from 'zod';
import { add, matmul, mul, type NDArray, type Tensor, zeros } from '../graph/index.ts';
import { lu, topK } from '../linalg/index.ts';
import { productsToPeft } from './lora-peft.ts';
import { adapterOptions, checkRank, loraOptions } from './options.ts';
import { defineForm, type Factors, type InitContext, type Tensors } from './weight-form.ts';

const lolduOptions = adapterOptions.extend({
  rank: z.int().positive().default(4).describe('pivots kept; up to the smaller side of the matrix'),
  alpha: z.number().positive().default(1).describe('σ starts at alpha / rank'),
  init: z
    .enum(['lu', 'zeros', 'ones', 'normal', 'uniform', 'normalLike', 'uniformLike', 'constant'])
    .default('lu')
    .describe('start of the trained diagonal; all but lu start away from W₀'),
  trainScale: z.boolean().default(false).describe('train σ too'),
  select: z
    .enum(['leading', 'magnitude'])
    .default('leading')
    .describe('pivots kept: the first ones, or those of largest magnitude'),
  dropout: loraOptions.shape.dropout,
  rankPattern: loraOptions.shape.rankPattern,
});

type LolduOptions = z.infer<typeof lolduOptions>;

/** W₀ ≈ L diag(d) U over the kept pivots, rows of L already in W₀'s order. */
interface Kept {
  readonly L: NDArray;
  readonly d: NDArray;
  readonly U: NDArray;
}

/** P L diag(d) U = W₀ in float64, then the columns of L and rows of U that are kept. */
function decompose(weight: NDArray, { rank: r, select }: LolduOptions): Kept {
  const [m, n] = weight.shape;
  const k = Math.min(m, n);
  const { l, u, permutation } = lu({
    rows: m,
    cols: n,
    data: Float64Array.from(weight.data as Float32Array),
  });
  const pivots = Float64Array.from({ length: k }, (_, i) => u.data[i * n + i]);
  const chosen = select === 'leading' ? [...pivots.keys()].slice(0, r) : [...topK(pivots.map(Math.abs), r)];
  const [L, d, U] = [zeros([m, r]), zeros([r]), zeros([r, n])];
  for (const [to, from] of chosen.entries()) {
    const pivot = pivots[from];
    d.data[to] = pivot;
    for (let i = 0; i < m; i++) L.data[permutation[i] * r + to] = l.data[i * k + from];
    // A zero pivot: its term is zero, any unit row may stand for it.
    if (pivot === 0) U.data[to * n + from] = 1;
    else for (let j = from; j < n; j++) U.data[to * n + j] = u.data[from * n + j] / pivot;
  }
  return { L, d, U };
}

/** W₀ − σ₀ L diag(d) U. */
function residual(weight: NDArray, { L, d, U }: Kept, sigma: number): NDArray {
  const [m, n] = weight.shape;
  const r = d.data.length;
  const data = new Float32Array(m * n);
  const row = new Float64Array(n);
  for (let i = 0; i < m; i++) {
    row.fill(0);
    for (let k = 0; k < r; k++) {
      const c = sigma * Number(L.data[i * r + k]) * Number(d.data[k]);
      if (c !== 0) for (let j = 0; j < n; j++) row[j] += c * Number(U.data[k * n + j]);
    }
    for (let j = 0; j < n; j++) data[i * n + j] = Number(weight.data[i * n + j]) - row[j];
  }
  return { ...weight, data };
}

/** The paper's starts of z. */
function startOf(d: NDArray, { init }: LolduOptions, context: InitContext): NDArray {
  const values = d.data as Float32Array;
  const mean = values.reduce((t, v) => t + v, 0) / values.length;
  const std = Math.sqrt(values.reduce((t, v) => t + (v - mean) ** 2, 0) / values.length);
  const out = new Float32Array(values.length);
  if (init === 'lu') out.set(values);
  if (init === 'ones') out.fill(1);
  if (init === 'constant') out.fill(mean);
  if (init === 'normal' || init === 'normalLike') context.random('z').fillNormal(out);
  if (init === 'uniform' || init === 'uniformLike') context.random('z').fillUniform(out);
  if (init === 'normalLike') for (let i = 0; i < out.length; i++) out[i] = mean + std * out[i];
  const bound = init === 'uniform' ? 1 : Math.abs(mean) / 2;
  if (init === 'uniform' || init === 'uniformLike')
    for (let i = 0; i < out.length; i++) out[i] = (2 * out[i] - 1) * bound;
  return { ...d, data: out };
}

/** σ z. */
function scaled(p: Tensors, o: LolduOptions): Tensor {
  return mul(p.z, p.sigma ?? o.alpha / o.rank);
}

/**
 * LoLDU (Shi et al. 2024, arXiv 2410.13618): W = W_res + σ P L diag(z) U with W₀ = P L diag(d) U its LU factors; z
 * starts at d and is trained, the rest is frozen.
 */
export const loldu = defineForm<LolduOptions>({
  name: 'loldu',
  title: 'LoLDU: Low-Rank Adaptation via Lower-Diag-Upper Decomposition',
  paper: 'Shi et al., 2024, arXiv 2410.13618',
  trainable: 'r',
  whenToChoose: 'The smallest adapters: one number for every kept pivot of W₀.',
  options: lolduOptions,
  kinds: ['linear'],
  shapes(layer, o) {
    checkRank('LoLDU', layer, o.rank);
    return {
      trainable: { z: [o.rank], ...(o.trainScale ? { sigma: [1] } : {}) },
      frozen: { L: [layer.out, o.rank], d: [o.rank], U: [o.rank, layer.in] },
    };
  },
  init(layer, o, context): Factors {
    checkRank('LoLDU', layer, o.rank);
    const kept = decompose(context.weight, o);
    const sigma = zeros([1]);
    sigma.data[0] = o.alpha / o.rank;
    return {
      trainable: { z: startOf(kept.d, o, context), ...(o.trainScale ? { sigma } : {}) },
      frozen: { ...kept },
      base: residual(context.weight, kept, o.alpha / o.rank),
    };
  },
  forward(x, base, p, o, c) {
    const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
    const low = mul(matmul(dropped, p.U, { transB: true }), scaled(p, o));
    return add(base.forward(x), matmul(low, p.L, { transB: true }));
  },
  weight: (base, p, o) => add(base, matmul(mul(p.L, scaled(p, o)), p.U)),
  // On W₀ itself the change is P L diag(σ z − σ₀ d) U.
  toPeft: (layers, o) =>
    productsToPeft(
      layers.map((layer) => {
        const { L, U, z: own, d, sigma } = layer.arrays;
        const r = d.data.length;
        const start = layer.options.alpha / layer.options.rank;
        const change = Float64Array.from(
          d.data as Float32Array,
          (v, k) => Number(sigma?.data[0] ?? start) * Number(own.data[k]) - start * v,
        );
        const B = { ...L, data: Float32Array.from(L.data as Float32Array, (v, i) => v * change[i % r]) };
        return { layer, A: U, B };
      }),
      o,
    ),
});
