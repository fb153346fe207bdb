import {
  cast,
  gather,
  matmul,
  mul,
  reshape,
  scale,
  scatterAdd,
  square,
  sub,
  sum,
  type Tensor,
  tanh,
  withGradient,
} from '../graph/index.ts';
import { after } from '../graph/order.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { SltrainOptions } from './sltrain-options.ts';
import type { Tensors } from './weight-form.ts';

type Shape2 = Pick<LayerSpec, 'out' | 'in'>;

/** W = s B A + S, out×in. */
export function sltrainWeight(p: Tensors, o: SltrainOptions, { out, in: n }: Shape2): Tensor {
  const product = scaled(matmul(p.B, p.A), p, o);
  if (!p.values) return product;
  const flat = scatterAdd(reshape(product, [out * n]), cast(p.support, 'int64'), p.values, 0);
  return reshape(flat, [out, n]);
}

/** s X, with s = α/r, or tanh of the trained number. */
function scaled(x: Tensor, p: Tensors, o: SltrainOptions): Tensor {
  return p.scale ? mul(x, tanh(p.scale)) : scale(x, o.alpha / o.rank);
}

/**
 * y = x Wᵀ that keeps neither W nor G = ∂L/∂W: the backward pass builds W again, and the gradients of all factors come
 * from one G: ∂B = s G Aᵀ, ∂A = s Bᵀ G, ∂v = G at the support.
 */
export function sltrainProduct(x: Tensor, p: Tensors, o: SltrainOptions, layer: Shape2): Tensor {
  // Each W waits for what it is multiplied by: else those of all layers were built first, or held from pass to pass.
  const weightAfter = (t: Tensor) => sltrainWeight({ ...p, A: after(p.A, [t]) }, o, layer);
  const y = matmul(x, weightAfter(x), { transB: true });
  const factors = [p.A, p.B, ...(p.values ? [p.values] : []), ...(p.scale ? [p.scale] : [])];
  return withGradient(y, [x, ...factors], (g, [needsX]) => {
    const rows = (t: Tensor) => reshape(t, [-1, t.shape[t.shape.length - 1]]);
    const G = matmul(rows(g), rows(x), { transA: true });
    return [
      needsX ? matmul(g, weightAfter(g)) : undefined,
      scaled(matmul(p.B, G, { transA: true }), p, o),
      scaled(matmul(G, p.A, { transB: true }), p, o),
      ...(p.values ? [gather(reshape(G, [layer.out * layer.in]), cast(p.support, 'int64'))] : []),
      ...(p.scale ? [scaleGradient(p, G)] : []),
    ];
  });
}

/** ⟨G, B A⟩ (1 − tanh²), through Bᵀ G so that no second m×n tensor is made. */
function scaleGradient(p: Tensors, G: Tensor): Tensor {
  const along = sum(mul(matmul(p.B, G, { transA: true }), p.A));
  return mul(reshape(along, [1]), sub(1, square(tanh(p.scale))));
}
