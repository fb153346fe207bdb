import {
  add,
  constant,
  expand,
  matmul,
  pad,
  reshape,
  slice,
  sum,
  type Tensor,
  transpose,
  unsqueeze,
  zeros,
} from '../graph/index.ts';
import { type BoneOptions, boneOptions } from './bone-options.ts';
import { boneFromPeft, boneToLora, boneToPeft } from './bone-peft.ts';
import { boneShape } from './bone-shape.ts';
import { checkRank } from './options.ts';
import { defineForm } from './weight-form.ts';

/** I of side r. */
function identity(r: number): Tensor {
  const eye = zeros([r, r]);
  for (let i = 0; i < r; i++) eye.data[i * r + i] = 1;
  return constant(eye);
}

/** `bat`: blocks W_ij (I + K_i) + K_i, one K_i for each row of r×r blocks. */
function batWeight(base: Tensor, K: Tensor): Tensor {
  const [m, n] = base.shape;
  const [blocks, r] = K.shape;
  // All block columns of a row of blocks at once: W₀ read as m/r matrices of n rows and r columns.
  const product = matmul(reshape(base, [blocks, n, r]), add(K, identity(r)));
  return reshape(add(reshape(product, [blocks, r, n / r, r]), reshape(K, [blocks, r, 1, r])), [m, n]);
}

/** Copies of the last axis side by side, cut to `length`. */
function tiled(x: Tensor, length: number): Tensor {
  const [before, width] = [x.shape.slice(0, -1), x.shape[x.shape.length - 1]];
  const copies = Math.ceil(length / width);
  const wide = reshape(expand(unsqueeze(x, -2), [...before, copies, width]), [...before, copies * width]);
  return slice(wide, -1, 0, length);
}

/** `balance`, `mini`: ΔW[o, j r + t] = K[t, o mod q]. */
function tiledWeight(base: Tensor, K: Tensor): Tensor {
  const [m, n] = base.shape;
  return add(base, tiled(transpose(tiled(K, m)), n));
}

/** Sums x's groups of r columns, the last one padded with zeros: [..., n] → [..., r]. */
function groupSum(x: Tensor, r: number): Tensor {
  const n = x.shape[x.shape.length - 1];
  const groups = Math.ceil(n / r);
  return sum(reshape(pad(x, -1, 0, groups * r - n), [...x.shape.slice(0, -1), groups, r]), -2);
}

/**
 * Bone (Kang 2024, arXiv 2409.15371) in the modes of PEFT's MISS: `bat` is the paper's block affine transformation,
 * `balance` and `mini` are the linear forms that came later under the names DiSHA and MiSS. K starts at zero.
 */
export const bone = defineForm<BoneOptions>({
  name: 'bone',
  title: 'Bone: Block-Affine Adaptation of Large Language Models',
  paper: 'Kang, 2024, arXiv 2409.15371',
  trainable: 'r m (mini: r q)',
  whenToChoose: 'Half the parameters of LoRA at one r, no scale to tune; bat where step time is no concern.',
  options: boneOptions,
  kinds: ['linear'],
  shapes(layer, o) {
    checkRank('Bone', layer, o.rank);
    return { trainable: { K: boneShape(layer, o) }, frozen: {} };
  },
  init(layer, o) {
    checkRank('Bone', layer, o.rank);
    return { trainable: { K: zeros(boneShape(layer, o)) }, frozen: {} };
  },
  forward(x, base, p, o, c) {
    if (o.mode === 'bat') return base.forwardWith(x, batWeight(base.weight, p.K));
    const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
    return add(base.forward(x), tiled(matmul(groupSum(dropped, o.rank), p.K), base.spec.out));
  },
  weight: (base, p, o) => (o.mode === 'bat' ? batWeight(base, p.K) : tiledWeight(base, p.K)),
  toPeft: boneToPeft,
  toLora: boneToLora,
  fromPeft: boneFromPeft,
});
