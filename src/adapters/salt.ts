import {
  add,
  array,
  constant,
  equal,
  greater,
  matmul,
  mul,
  type NDArray,
  relu,
  reshape,
  scalar,
  sizeOf,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  transpose,
  where,
  zeros,
} from '../graph/index.ts';
import { type Random, svd } from '../linalg/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { checkRank } from './options.ts';
import { saltToLora } from './salt-lora.ts';
import { type SaltOptions, saltOptions, saltSizes } from './salt-options.ts';
import {
  defineForm,
  type FactorShapes,
  type Factors,
  type InitContext,
  type Tensors,
} from './weight-form.ts';

/** W₀ = U₁ diag(S₁) V₁ + U₂ diag(S₂) V₂, the t largest singular values and the q others; V as W₀'s inner axes. */
function decompose(weight: NDArray, t: number): Record<string, NDArray> {
  const [m, ...inner] = weight.shape;
  const n = inner.reduce((a, b) => a * b, 1);
  const { u, s, vt } = svd({ rows: m, cols: n, data: weight.data as Float32Array });
  const k = s.length;
  const columns = (from: number, to: number) => {
    const out = zeros([m, to - from]);
    for (let i = 0; i < m; i++)
      (out.data as Float32Array).set(u.data.subarray(i * k + from, i * k + to), i * (to - from));
    return out;
  };
  const part = (index: 1 | 2, from: number, to: number) =>
    from === to
      ? {}
      : {
          [`U${index}`]: columns(from, to),
          [`S${index}`]: array(s.subarray(from, to), [to - from]),
          [`V${index}`]: array(vt.data.subarray(from * n, to * n), [to - from, ...inner]),
        };
  return { ...part(1, 0, t), ...part(2, t, k) };
}

/** X ~ U(±√(6/ρ)) (Kaiming, fan-in ρ) and Y = 0, or both 0.01 N(0, 1). */
function mixing(q: number, { rank, init }: SaltOptions, random: (purpose: string) => Random) {
  const [X, Y] = [zeros([q, rank]), zeros([rank, q])];
  if (init === 'gaussian') {
    for (const [name, a] of Object.entries({ X, Y })) {
      random(name).fillNormal(a.data as Float32Array);
      for (let i = 0; i < a.data.length; i++) a.data[i] = 0.01 * Number(a.data[i]);
    }
    return { X, Y };
  }
  random('X').fillUniform(X.data as Float32Array);
  const bound = Math.sqrt(6 / rank);
  for (let i = 0; i < X.data.length; i++) X.data[i] = (2 * Number(X.data[i]) - 1) * bound;
  return { X, Y };
}

function shapes(layer: LayerSpec, o: SaltOptions): FactorShapes {
  checkRank('SALT', layer, o.rank);
  const inner = [layer.in, ...(layer.kernel ?? [])];
  const { t, q } = saltSizes(layer, sizeOf(inner), o);
  const part = (index: 1 | 2, count: number) =>
    count === 0
      ? {}
      : { [`U${index}`]: [layer.out, count], [`S${index}`]: [count], [`V${index}`]: [count, ...inner] };
  return {
    trainable: {
      ...(t > 0 ? { stretch: [t], shift: [t] } : {}),
      ...(q > 0 ? { X: [q, o.rank], Y: [o.rank, q] } : {}),
    },
    frozen: { ...part(1, t), ...part(2, q) },
  };
}

function begin(layer: LayerSpec, o: SaltOptions, context: InitContext): Factors {
  checkRank('SALT', layer, o.rank);
  const columns = context.weight.data.length / layer.out;
  const { t, q } = saltSizes(layer, columns, o);
  return {
    trainable: {
      ...(t > 0 ? { stretch: zeros([t]), shift: zeros([t]) } : {}),
      ...(q > 0 ? mixing(q, o, context.random) : {}),
    },
    frozen: decompose(context.weight, t),
  };
}

/** a ∘ S₁ + c − S₁: `stretch` is a − 1, so that weight decay pulls a to 1. */
function topChange(p: Tensors): Tensor {
  return add(mul(p.stretch, p.S1), p.shift);
}

/** δ, after the cut of a ∘ S₁ + c at zero. */
function cutTop(p: Tensors, o: SaltOptions): Tensor {
  const change = topChange(p);
  return o.relu === 'none' ? change : sub(relu(add(p.S1, change)), p.S1);
}

/** U₂ (M⁺ − diag S₂) V₂ with M = diag(S₂) + X Y. */
function restDelta(p: Tensors, V: Tensor, o: SaltOptions): Tensor {
  const q = p.S2.shape[0];
  if (o.relu === 'all') {
    const index = constant(
      array(
        Float32Array.from({ length: q }, (_, i) => i),
        [q],
      ),
    );
    const eye = equal(reshape(index, [q, 1]), reshape(index, [1, q]));
    const values = where(eye, reshape(p.S2, [1, q]), 0);
    const core = sub(relu(add(values, matmul(p.X, p.Y))), values);
    // q² times the smaller of the two sides.
    return p.U2.shape[0] <= V.shape[1] ? matmul(matmul(p.U2, core), V) : matmul(p.U2, matmul(core, V));
  }
  const low = matmul(matmul(p.U2, p.X), matmul(p.Y, V));
  if (o.relu === 'none') return low;
  const diagonal = add(p.S2, sum(mul(p.X, transpose(p.Y)), 1));
  return add(low, matmul(mul(p.U2, sub(relu(diagonal), diagonal)), V));
}

/** ‖x‖ whose gradient at zero is zero. */
function norm(x: Tensor): Tensor {
  const squares = sum(square(x));
  const positive = greater(squares, 0);
  return where(positive, sqrt(where(positive, squares, 1)), 0);
}

const flat = (V: Tensor) => reshape(V, [V.shape[0], -1]);

/**
 * SALT (Elsayed et al. 2025, arXiv 2503.16055): in the singular basis of W₀ the t largest values are scaled and shifted,
 * the others mixed by a product of rank ρ; negative entries of the core are cut. W = U ReLU(M) Vᵀ.
 */
export const salt = defineForm<SaltOptions>({
  name: 'salt',
  title: 'SALT: Singular Value Adaptation with Low-Rank Transformation',
  paper: 'Elsayed et al., BMVC 2025, arXiv 2503.16055',
  trainable: '2 t + 2 (k − t) ρ, k = min(m, n)',
  whenToChoose:
    'Few examples, far from pretraining (segmentation of medical images); the step cost does not matter.',
  options: saltOptions,
  kinds: ['linear', 'embedding', 'conv2d'],
  shapes,
  init: begin,
  weight(base, p, o) {
    const parts: Tensor[] = [];
    if (p.S1) parts.push(matmul(mul(p.U1, cutTop(p, o)), flat(p.V1)));
    if (p.S2) parts.push(restDelta(p, flat(p.V2), o));
    return add(base, reshape(parts.reduce(add), base.shape));
  },
  penalty(p, o) {
    if (o.penalty === 0) return scalar(0);
    const parts = [...(p.S1 ? [norm(topChange(p))] : []), ...(p.X ? [norm(matmul(p.X, p.Y))] : [])];
    return mul(parts.reduce(add), o.penalty);
  },
  toLora: saltToLora,
});
