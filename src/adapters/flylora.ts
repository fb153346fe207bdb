import { RankineError } from '../errors.ts';
import {
  abs,
  add,
  cast,
  detach,
  fill,
  greater,
  matmul,
  max,
  mul,
  type NDArray,
  reshape,
  scatterAdd,
  sum,
  type Tensor,
  topK,
  zeros,
} from '../graph/index.ts';
import type { Random } from '../linalg/index.ts';
import { balance } from './flylora-balance.ts';
import { flyloraFromFile, flyloraToFile } from './flylora-file.ts';
import { type FlyloraOptions, flyloraOptions, nonzeros } from './flylora-options.ts';
import { loraDelta } from './lora.ts';
import { checkRank } from './options.ts';
import { defineForm } from './weight-form.ts';

/** r rows of p nonzeros each, N(0, 1/r²), in columns drawn without replacement. */
export function sparseProjection(rank: number, n: number, p: number, source: Random): NDArray {
  const A = zeros([rank, n]);
  const values = new Float32Array(rank * p);
  source.fillNormal(values);
  const order = new Float32Array(rank * n);
  source.fillUniform(order, 1);
  for (let k = 0; k < rank; k++) {
    const columns = Array.from({ length: n }, (_, j) => j);
    for (let i = 0; i < p; i++) {
      const j = i + Math.floor(order[k * n + i] * (n - i));
      [columns[i], columns[j]] = [columns[j], columns[i]];
      A.data[k * n + columns[i]] = values[k * p + i] / rank;
    }
  }
  return A;
}

/** The score by which ranks are chosen; the bias balances the choice and enters nothing else. */
function score(u: Tensor, bias: Tensor, { score: kind }: FlyloraOptions): Tensor {
  if (kind === 'signed') return add(u, bias);
  return kind === 'abs' ? abs(add(u, bias)) : add(abs(u), bias);
}

/** 1 at the k largest scores of each token (lower index first among equals), else 0; constant to differentiation. */
export function chosen(u: Tensor, bias: Tensor, o: FlyloraOptions): Tensor {
  if (o.active >= o.rank) return fill(u.shape, 1);
  const { indices } = topK(detach(score(u, bias, o)), o.active);
  return detach(scatterAdd(fill(u.shape, 0), indices, fill(indices.shape, 1), u.shape.length - 1));
}

/** Share of the largest gradient below which one is rounding. */
const ROUNDING = 1e-6;

/**
 * How many tokens chose each rank, by the gradient of the branch's output: tokens that the loss does not depend on
 * (padding) have none and are not counted.
 */
function counts(mask: Tensor, gradient: Tensor): Tensor {
  const size = max(abs(gradient), -1, true);
  const used = mul(mask, cast(greater(size, mul(max(size), ROUNDING)), 'float32'));
  return sum(reshape(used, [-1, mask.shape[mask.shape.length - 1]]), 0);
}

/**
 * FlyLoRA (Zou et al. 2025, arXiv 2510.08396): y = base(x) + s B (g ∘ A x) with A sparse, random and frozen, and g the
 * choice of the k strongest of r ranks for each token. Only B is trained; a bias that no gradient moves balances g.
 */
export const flylora = defineForm<FlyloraOptions>({
  name: 'flylora',
  title: 'FlyLoRA: Task Decoupling and Parameter Efficiency via Implicit Rank-Wise Mixture-of-Experts',
  paper: 'Zou et al., NeurIPS 2025, arXiv 2510.08396',
  trainable: 'r m',
  whenToChoose: 'Several tasks in one adapter, or adapters to be averaged; not where weights must be merged.',
  options: flyloraOptions,
  kinds: ['linear'],
  sized: (rank) => ({ rank, active: Math.max(1, Math.round(rank / 4)), alpha: 2 * rank }),
  shapes(layer, { rank }) {
    checkRank('FlyLoRA', layer, rank);
    return {
      trainable: { B: [layer.out, rank] },
      frozen: { A: [rank, layer.in], bias: [rank] },
    };
  },
  init(layer, o, context) {
    checkRank('FlyLoRA', layer, o.rank);
    const A = sparseProjection(o.rank, layer.in, nonzeros(layer.in, o), context.random('A'));
    return { trainable: { B: zeros([layer.out, o.rank]) }, frozen: { A, bias: zeros([o.rank]) } };
  },
  forward(x, base, p, o, c) {
    const u = matmul(x, p.A, { transB: true });
    const source = o.stopGradient ? detach(u) : u;
    const mask = chosen(u, p.bias, o);
    const branch = matmul(mul(mask, source), p.B, { transB: true, alpha: o.alpha / o.rank });
    const watched = c.observe?.('counts', branch, [o.rank], (g) => counts(mask, g)) ?? branch;
    return add(base.forward(x), watched);
  },
  weight(base, p, o, layer) {
    if (o.active < o.rank) throw notMergeable(layer.name);
    return add(base, loraDelta(o.alpha / o.rank, p, layer));
  },
  steps: (o) => (o.active < o.rank ? balance(o) : { state: {} }),
  toPeft: flyloraToFile,
  fromPeft: flyloraFromFile,
});

function notMergeable(layer: string): RankineError {
  return new RankineError(
    'adapters/not-mergeable',
    `FlyLoRA's change of ${layer} depends on each token: no weight does the same.`,
    'Keep the adapter, or average tasks with mergeFlylora.',
  );
}
