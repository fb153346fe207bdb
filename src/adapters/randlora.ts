import {
  add,
  matmul,
  mul,
  reshape,
  scale,
  size,
  sum,
  type Tensor,
  transpose,
  unsqueeze,
  withGradient,
  zeros,
} from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { type RandloraOptions, randloraOptions, randloraSizes } from './randlora-options.ts';
import { randloraFromPeft, randloraToPeft } from './randlora-peft.ts';
import { basisRows, type Entry, sharedArray, uniformEntry } from './shared-basis.ts';
import { defineForm, type Tensors } from './weight-form.ts';

/** σ = α/r, or α/(r√N). */
function sigma(o: RandloraOptions, N: number): number {
  return o.alpha / o.rank / (o.scaleBySqrtN ? Math.sqrt(N) : 1);
}

/** Entries of standard deviation 1: uniform, or −1, 0, 1 with P(±1) = 1/(2q), times √q. */
function entryOf({ basis }: RandloraOptions, d: number): Entry {
  if (basis === 'dense') return uniformEntry(Math.sqrt(3));
  const q = basis === 'sparse' ? 3 : Math.sqrt(d);
  return (u) => Math.sqrt(q) * (u < 0.5 / q ? -1 : u < 1 / q ? 1 : 0);
}

/** A [r, 1, d] and B [D, N, r], slices of matrices that all layers share. */
function bases(layer: LayerSpec, o: RandloraOptions) {
  const { d, D, N } = randloraSizes(layer, o.rank);
  const entry = entryOf(o, d);
  const make = (stream: string, rows: number, shape: readonly number[]) =>
    sharedArray(`${stream}/${o.seed}/${o.basis}/${d}/${shape}`, () => ({
      ...basisRows(o.seed, stream, { rows, columns: shape.slice(1).reduce((a, b) => a * b) }, entry),
      shape,
    }));
  return {
    A: make('randlora/A', o.rank, [o.rank, 1, d]),
    // Row i is B[i, :, :] with b major: fewer products are a prefix of more.
    B: make('randlora/B', D, [D, N, o.rank]),
  };
}

/**
 * Ã[k, b, :] = λ[k, b] A[k, :] ∘ γ[b, :]. Its own backward keeps P ∘ A, P the gradient of Ã, for both factors instead
 * of the products of the forward; the random matrices get no gradient.
 */
export function scaledBasis(A: Tensor, lambda: Tensor, gamma: Tensor): Tensor {
  const [l, g] = [unsqueeze(lambda, 2), unsqueeze(gamma, 0)];
  return withGradient(mul(mul(A, g), l), [lambda, gamma], (P) => {
    const q = mul(P, A);
    return [sum(mul(q, g), 2), sum(mul(q, l), 0)];
  });
}

/** The two flattened factors, Ã [rN, d] with k major and B̃ [D, Nr] with b major, as authors and PEFT pair them. */
function flattened(p: Tensors) {
  const tilde = scaledBasis(p.A, p.lambda, p.gamma);
  const [r, N, d] = tilde.shape;
  return { low: reshape(tilde, [r * N, d]), high: reshape(p.B, [p.B.shape[0], N * r]) };
}

function delta(p: Tensors, o: RandloraOptions, layer: LayerSpec): Tensor {
  const { low, high } = flattened(p);
  const product = scale(matmul(high, low), sigma(o, p.lambda.shape[1]));
  return layer.in <= layer.out ? product : transpose(product);
}

/** y = σ (x Ũᵀ) Ṽᵀ without building ΔW. */
function factored(x: Tensor, p: Tensors, o: RandloraOptions, layer: LayerSpec): Tensor {
  const { low, high } = flattened(p);
  const alpha = sigma(o, p.lambda.shape[1]);
  return layer.in <= layer.out
    ? matmul(matmul(x, low, { transB: true }), high, { transB: true, alpha })
    : matmul(matmul(x, high), low, { alpha });
}

/** Whether ΔW is cheaper built once (2 D d Nr flops) than applied as factors (2 Nr (m + n) a token), backward alike. */
function builds(x: Tensor, layer: LayerSpec): boolean {
  return (size(x) / layer.in) * (layer.out + layer.in) > layer.out * layer.in;
}

/**
 * RandLoRA (Albert et al. 2025, arXiv 2502.00987): ΔW = σ Σ_b B_b Λ_b A Γ_b over N = ⌈d/r⌉ products of frozen random
 * matrices that all layers share, of full rank together; λ and γ are trained.
 */
export const randlora = defineForm<RandloraOptions>({
  name: 'randlora',
  title: 'RandLoRA: Full-rank parameter-efficient fine-tuning of large models',
  paper: 'Albert et al., ICLR 2025, arXiv 2502.00987',
  trainable: 'N (r + d), d = min(m, n), N = ⌈d/r⌉',
  whenToChoose: 'Changes that need full rank at the size of a LoRA; step time is no concern.',
  options: randloraOptions,
  kinds: ['linear'],
  sized: (rank) => ({ rank, alpha: 20 * rank }),
  shapes(layer, { rank }) {
    const { d, D, N } = randloraSizes(layer, rank);
    return {
      trainable: { lambda: [rank, N], gamma: [N, d] },
      frozen: { A: [rank, 1, d], B: [D, N, rank] },
      shared: ['A', 'B'],
    };
  },
  init(layer, o) {
    const { d, N } = randloraSizes(layer, o.rank);
    const gamma = zeros([N, d]);
    gamma.data.fill((1 / Math.max(N, d)) as never);
    return { trainable: { lambda: zeros([o.rank, N]), gamma }, frozen: bases(layer, o) };
  },
  forward(x, base, p, o, c) {
    const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
    if (!builds(x, base.spec)) return add(base.forward(x), factored(dropped, p, o, base.spec));
    const change = delta(p, o, base.spec);
    if (dropped === x) return base.forwardWith(x, add(base.weight, change));
    return add(base.forward(x), matmul(dropped, change, { transB: true }));
  },
  weight: (base, p, o, layer) => add(base, delta(p, o, layer)),
  toPeft: randloraToPeft,
  fromPeft: randloraFromPeft,
});
