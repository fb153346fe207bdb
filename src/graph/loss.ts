import { withGradient } from './differentiate.ts';
import { add, div, exp, log, mul, neg, sub } from './elementwise.ts';
import { gather, gatherElements, scatterAdd } from './index-ops.ts';
import { linear, matmul } from './matmul.ts';
import { logSoftmax } from './normalize.ts';
import { max, sum } from './reduce.ts';
import { reshape, slice } from './shape.ts';
import { shapeError, type Tensor } from './tensor.ts';

/** Logits held at once, in bytes. A product over few rows re-reads the whole head, so chunks are not tiny. */
const CHUNK_BYTES = 64 * 2 ** 20;

/** Σ weights ∘ cross-entropy of rows of `logits` [N, C] at `targets` (int64 [N]); rows of weight 0 are ignored. */
export function crossEntropy(logits: Tensor, targets: Tensor, weights: Tensor): Tensor {
  const [rows] = logits.shape;
  const picked = gatherElements(logSoftmax(logits), reshape(targets, [rows, 1]), 1);
  return neg(sum(mul(reshape(picked, [rows]), weights)));
}

/**
 * Σ weights ∘ cross-entropy of the logits h Wᵀ (+ b) without ever holding them all: a few rows at a time, and each
 * chunk's gradient is made from the exponentials that its loss needed, so nothing is computed twice.
 *
 * @param h       hidden states [N, d]
 * @param weight  output head [V, d]
 * @param targets int64 [N], any valid id where the weight is 0
 * @param weights float [N], e.g. mask / number of targets
 * @param options `bias` [V]; `rows` in a chunk (default: logits of at most 64 MiB)
 */
export function linearCrossEntropy(
  h: Tensor,
  weight: Tensor,
  targets: Tensor,
  weights: Tensor,
  options: { bias?: Tensor; rows?: number } = {},
): Tensor {
  const [count, width] = h.shape;
  const [vocabulary] = weight.shape;
  if (weight.shape[1] !== width) throw shapeError('linearCrossEntropy', [h, weight], 'the widths differ');
  const limit = options.rows ?? Math.max(1, Math.floor(CHUNK_BYTES / (4 * vocabulary)));
  const chunks = Math.ceil(count / Math.min(limit, count));
  const rows = Math.ceil(count / chunks);
  const parts = Array.from({ length: chunks }, (_, i) =>
    chunkLoss(h, weight, targets, weights, i * rows, Math.min(count, (i + 1) * rows), options.bias),
  );
  return parts.reduce(add);
}

function chunkLoss(
  h: Tensor,
  weight: Tensor,
  targets: Tensor,
  weights: Tensor,
  start: number,
  end: number,
  bias?: Tensor,
): Tensor {
  const part = (t: Tensor) => slice(t, 0, start, end);
  const [x, ids, w] = [part(h), part(targets), part(weights)];
  const n = end - start;
  const logits = linear(x, weight, bias);
  const top = max(logits, 1, true);
  const e = exp(sub(logits, top));
  const total = sum(e, 1, true);
  // The target's logit comes from a dot product of its own: picking it from the logits would keep them alive.
  const own = sum(mul(x, gather(weight, ids)), 1);
  const target = bias ? add(own, gather(bias, ids)) : own;
  const losses = sub(add(log(reshape(total, [n])), reshape(top, [n])), target);
  const loss = sum(mul(w, losses));
  const inputs = bias ? [x, weight, w, bias] : [x, weight, w];
  return withGradient(loss, inputs, (g) => {
    const scale = div(mul(reshape(w, [n, 1]), g), total);
    const residual = scatterAdd(e, reshape(ids, [n, 1]), neg(total), 1);
    const scaled = mul(x, scale);
    return [
      mul(matmul(residual, weight), scale),
      matmul(residual, scaled, { transA: true }),
      mul(losses, g),
      ...(bias ? [reshape(matmul(residual, scale, { transA: true }), bias.shape)] : []),
    ];
  });
}

/** Mean squared error. */
export function squaredError(a: Tensor, b: Tensor): Tensor {
  const d = sub(a, b);
  return mul(sum(mul(d, d)), 1 / d.shape.reduce((n, k) => n * k, 1));
}
