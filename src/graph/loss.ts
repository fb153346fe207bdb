import { mul, neg, sub } from './elementwise.ts';
import { gatherElements } from './index-ops.ts';
import { logSoftmax } from './normalize.ts';
import { sum } from './reduce.ts';
import { reshape } from './shape.ts';
import type { Tensor } from './tensor.ts';

/** Σ weights ∘ cross-entropy of rows of `logits` [N, C] at `targets` (int64 [N]); rows of weight 0 are ignored. */
export function crossEntropy(logits: Tensor, targets: Tensor, weights: Tensor): Tensor {
  const [rows] = logits.shape;
  const picked = gatherElements(logSoftmax(logits), reshape(targets, [rows, 1]), 1);
  return neg(sum(mul(reshape(picked, [rows]), weights)));
}

/** Mean squared error. */
export function squaredError(a: Tensor, b: Tensor): Tensor {
  const d = sub(a, b);
  return mul(sum(mul(d, d)), 1 / d.shape.reduce((n, k) => n * k, 1));
}
