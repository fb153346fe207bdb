import {
  abs,
  add,
  cast,
  constant,
  div,
  greater,
  matmul,
  maximum,
  mul,
  type NDArray,
  size,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  unsqueeze,
  withGradient,
  zeros,
} from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { drawBlock, grow } from './increlora-growth.ts';
import { blockSizes, type IncreloraOptions, increloraOptions, increloraScale } from './increlora-options.ts';
import { productsToPeft } from './lora-peft.ts';
import { checkRank } from './options.ts';
import { type Arrays, defineForm, type Factors, type InitContext, type Tensors } from './weight-form.ts';

/** s e of every rank: e is what is trained where ranks are live, 1e-5 in reserve, 0 in empty room. */
function rankWeights(p: Tensors): Tensor {
  return mul(add(mul(p.e, p.live), p.reserve), p.scale);
}

/** (s B diag(e))ᵀ. */
function weighted(p: Tensors): Tensor {
  return mul(p.Bt, unsqueeze(rankWeights(p), 1));
}

/** ΔW = s B diag(e) A. */
function delta(p: Tensors): Tensor {
  return matmul(weighted(p), p.A, { transA: true });
}

/** Σ|ΔW ∘ ∂L/∂ΔW| / √(m n), or / (m n). */
function score(change: Tensor, gradient: Tensor, o: IncreloraOptions): Tensor {
  const count = size(change);
  const divisor = o.scoreNorm === 'sqrt' ? Math.sqrt(count) : count;
  return mul(sum(abs(mul(change, gradient))), 1 / divisor);
}

/**
 * ‖X Xᵀ − I‖_F over the rows that exist: `pairs` is 1 where both do. Its gradient 2 (X Xᵀ − I) X / ‖X Xᵀ − I‖ is zero
 * where the norm is.
 */
function deviation(X: Tensor, pairs: Tensor): Tensor {
  const off = mul(sub(matmul(X, X, { transB: true }), identity(X.shape[0])), pairs);
  const norm = sqrt(sum(square(off)));
  return withGradient(norm, [X], (g) => [matmul(mul(off, div(g, maximum(norm, 1e-20))), X, { alpha: 2 })]);
}

function identity(k: number): Tensor {
  const eye = zeros([k, k]);
  for (let i = 0; i < k; i++) eye.data[i * k + i] = 1;
  return constant(eye);
}

function begin(layer: LayerSpec, o: IncreloraOptions, context: InitContext): Factors {
  checkRank('IncreLoRA', layer, o.initialRank);
  const room = roomOf(blockSizes(layer, o));
  const trainable = { A: zeros([room, layer.in]), Bt: zeros([room, layer.out]), e: zeros([room]) };
  drawBlock(trainable, { from: 0, rows: o.initialRank }, context.random('block'));
  const live = zeros([room]);
  live.data.fill(1 as never, 0, o.initialRank);
  const scale = zeros([1]);
  scale.data[0] = increloraScale(o, o.initialRank);
  return {
    trainable,
    frozen: { live, reserve: zeros([room]), scale },
  };
}

/**
 * IncreLoRA (Zhang et al. 2023, arXiv 2308.12043): ΔW = (α/ρ) B diag(e) A starts at rank 1 everywhere; every few hundred
 * updates the layers whose change matters most gain ranks that were trained in reserve beforehand.
 */
export const increlora = defineForm<IncreloraOptions>({
  name: 'increlora',
  title: 'IncreLoRA: Incremental Parameter Allocation Method for Parameter-Efficient Fine-tuning',
  paper: 'Zhang et al., 2023, arXiv 2308.12043',
  trainable: 'R (m + n + 1), room for R ranks',
  whenToChoose: 'Very small budgets that are to go to the layers where they matter most.',
  options: increloraOptions,
  kinds: ['linear'],
  shapes(layer, o) {
    checkRank('IncreLoRA', layer, o.initialRank);
    const sizes = blockSizes(layer, o);
    const room = roomOf(sizes);
    return {
      trainable: { A: [room, layer.in], Bt: [room, layer.out], e: [room] },
      frozen: { live: [room], reserve: [room], scale: [1] },
      parts: { A: sizes, Bt: sizes, e: sizes },
      state: 2 + 2 * sizes.length,
    };
  },
  init: begin,
  forward(x, base, p, o, c) {
    const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
    if (!c.observe) {
      const low = matmul(dropped, p.A, { transB: true });
      return add(base.forward(x), matmul(low, weighted(p)));
    }
    // Scores need the dense ΔW and its gradient.
    const plain = delta(p);
    const change = c.observe('score', plain, [], (g) => score(plain, g, o));
    if (dropped === x) return base.forwardWith(x, add(base.weight, change));
    return add(base.forward(x), matmul(dropped, change, { transB: true }));
  },
  weight: (base, p) => add(base, delta(p)),
  penalty(p, o, layers) {
    const exists = cast(greater(add(p.live, p.reserve), 0), 'float32');
    const pairs = mul(unsqueeze(exists, 1), exists);
    const both = add(deviation(p.A, pairs), deviation(p.Bt, pairs));
    return mul(both, o.orthogonality / (2 * layers));
  },
  steps: grow,
  toPeft: (layers, o) =>
    productsToPeft(
      layers.map((layer) => ({ layer, ...liveFactors(layer.arrays) })),
      o,
    ),
});

function roomOf(sizes: readonly number[]): number {
  return sizes.reduce((n, rows) => n + rows, 0);
}

/** Rows of A, and columns of s B diag(e), that are part of ΔW. */
function liveFactors({ A, Bt, e, live, reserve, scale }: Arrays): { A: NDArray; B: NDArray } {
  const weight = (k: number) => Number(e.data[k]) * Number(live.data[k]) + Number(reserve.data[k]);
  const there = [...live.data.keys()].filter((k) => live.data[k] !== 0 || reserve.data[k] !== 0);
  const [n, m] = [A.shape[1], Bt.shape[1]];
  const out = { A: zeros([there.length, n]), B: zeros([m, there.length]) };
  for (const [i, k] of there.entries()) {
    (out.A.data as Float32Array).set((A.data as Float32Array).subarray(k * n, (k + 1) * n), i * n);
    const s = weight(k) * Number(scale.data[0]);
    for (let j = 0; j < m; j++) out.B.data[j * there.length + i] = s * Number(Bt.data[k * m + j]);
  }
  return out;
}
