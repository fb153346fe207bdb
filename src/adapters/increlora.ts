import {
  abs,
  add,
  cast,
  concat,
  constant,
  div,
  greater,
  matmul,
  maximum,
  mul,
  type NDArray,
  type Shape,
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

interface Joined {
  readonly A: Tensor;
  readonly B: Tensor;
  readonly e: Tensor;
}

/** By the first block's A: forward and penalty of one trace join once, so that gradients are cut into blocks once. */
const known = new WeakMap<Tensor, Joined>();

/** A, B and e of all blocks; e is what is trained where ranks are live, 1e-5 in reserve, 0 in empty room. */
function joined(p: Tensors): Joined {
  const before = known.get(p.A0);
  if (before) return before;
  const names = Object.keys(p).filter((name) => /^A\d+$/.test(name));
  const blocks = names.map((name) => name.slice(1)).sort((x, y) => Number(x) - Number(y));
  const of = (name: string, axis: number) =>
    concat(
      blocks.map((i) => p[`${name}${i}`]),
      axis,
    );
  const all = { A: of('A', 0), B: of('B', 1), e: add(mul(of('e', 0), p.live), p.reserve) };
  known.set(p.A0, all);
  return all;
}

/** ΔW = s B diag(e) A. */
function delta(p: Tensors): Tensor {
  const { A, B, e } = joined(p);
  return matmul(mul(B, mul(e, p.scale)), A);
}

/** Σ|ΔW ∘ ∂L/∂ΔW| / √(m n), or / (m n). */
function score(change: Tensor, gradient: Tensor, o: IncreloraOptions): Tensor {
  const count = size(change);
  const divisor = o.scoreNorm === 'sqrt' ? Math.sqrt(count) : count;
  return mul(sum(abs(mul(change, gradient))), 1 / divisor);
}

/**
 * ‖X Xᵀ − I‖_F over the rows of A, or the columns of B, that exist. Its gradient 2 (X Xᵀ − I) X / ‖X Xᵀ − I‖ is zero where
 * the norm is.
 */
function deviation(X: Tensor, exists: Tensor, side: 'rows' | 'columns'): Tensor {
  const mask = side === 'rows' ? unsqueeze(exists, 1) : exists;
  const own = mul(X, mask);
  const gram = side === 'rows' ? matmul(own, own, { transB: true }) : matmul(own, own, { transA: true });
  const k = exists.shape[0];
  const eye = zeros([k, k]);
  for (let i = 0; i < k; i++) eye.data[i * k + i] = 1;
  const off = sub(gram, mul(constant(eye), exists));
  const norm = sqrt(sum(square(off)));
  return withGradient(norm, [X], (g) => {
    const along = mul(off, div(mul(g, 2), maximum(norm, 1e-20)));
    return [side === 'rows' ? matmul(along, own) : matmul(own, along)];
  });
}

function begin(layer: LayerSpec, o: IncreloraOptions, context: InitContext): Factors {
  checkRank('IncreLoRA', layer, o.initialRank);
  const sizes = blockSizes(layer, o);
  const room = sizes.reduce((n, rows) => n + rows, 0);
  const trainable: Record<string, NDArray> = {};
  for (const [i, rows] of sizes.entries()) {
    trainable[`A${i}`] = zeros([rows, layer.in]);
    trainable[`B${i}`] = zeros([layer.out, rows]);
    trainable[`e${i}`] = zeros([rows]);
  }
  drawBlock(trainable, 0, context.random('block'));
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
    const room = sizes.reduce((n, rows) => n + rows, 0);
    const blocks = sizes.flatMap((rows, i): [string, Shape][] => [
      [`A${i}`, [rows, layer.in]],
      [`B${i}`, [layer.out, rows]],
      [`e${i}`, [rows]],
    ]);
    return {
      trainable: Object.fromEntries(blocks),
      frozen: { live: [room], reserve: [room], scale: [1] },
      state: 2 + 2 * sizes.length,
    };
  },
  init: begin,
  forward(x, base, p, o, c) {
    const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
    if (!c.observe) {
      const { A, B, e } = joined(p);
      const low = mul(matmul(dropped, A, { transB: true }), mul(e, p.scale));
      return add(base.forward(x), matmul(low, B, { transB: true }));
    }
    // Scores need the dense ΔW and its gradient.
    const plain = delta(p);
    const change = c.observe('score', plain, [], (g) => score(plain, g, o));
    if (dropped === x) return base.forwardWith(x, add(base.weight, change));
    return add(base.forward(x), matmul(dropped, change, { transB: true }));
  },
  weight: (base, p) => add(base, delta(p)),
  penalty(p, o, layers) {
    const { A, B } = joined(p);
    const exists = cast(greater(add(p.live, p.reserve), 0), 'float32');
    const both = add(deviation(A, exists, 'rows'), deviation(B, exists, 'columns'));
    return mul(both, o.orthogonality / (2 * layers));
  },
  steps: grow,
  toPeft: (layers, o) =>
    productsToPeft(
      layers.map((layer) => ({ layer, ...liveFactors(layer.arrays) })),
      o,
    ),
});

/** Rows of A, and columns of s B diag(e), that are part of ΔW. */
function liveFactors(arrays: Arrays): { A: NDArray; B: NDArray } {
  const rows: { A: Float32Array; B: number[] }[] = [];
  let k = 0;
  for (let i = 0; arrays[`e${i}`]; i++) {
    const [A, B, e] = [arrays[`A${i}`], arrays[`B${i}`], arrays[`e${i}`]];
    const [count, n] = A.shape;
    for (let row = 0; row < count; row++, k++) {
      const weight = Number(e.data[row]) * Number(arrays.live.data[k]) + Number(arrays.reserve.data[k]);
      if (arrays.live.data[k] === 0 && arrays.reserve.data[k] === 0) continue;
      const s = weight * Number(arrays.scale.data[0]);
      rows.push({
        A: (A.data as Float32Array).subarray(row * n, (row + 1) * n),
        B: Array.from({ length: B.shape[0] }, (_, j) => s * Number(B.data[j * count + row])),
      });
    }
  }
  const [n, m] = [arrays.A0.shape[1], arrays.B0.shape[0]];
  const [A, B] = [zeros([rows.length, n]), zeros([m, rows.length])];
  rows.forEach((row, i) => {
    (A.data as Float32Array).set(row.A, i * n);
    for (let j = 0; j < m; j++) B.data[j * rows.length + i] = row.B[j];
  });
  return { A, B };
}
