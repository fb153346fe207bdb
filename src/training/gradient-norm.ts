import { sumOfSquares } from '../engine/index.ts';
import type { NDArray } from '../graph/index.ts';

/** Σ xᵢ², in float64; not finite exactly where the array is not. */
export function squares(a: NDArray): number {
  return sumOfSquares(a.data as Float32Array);
}

/** 2-norm of all gradients together. */
export function globalNorm(gradients: Iterable<NDArray>): number {
  let total = 0;
  for (const gradient of gradients) total += squares(gradient);
  return Math.sqrt(total);
}

/** What gradients of this norm are multiplied by, as torch's `clip_grad_norm_`: min(1, limit / (norm + 1e-6)); limit 0: 1. */
export function clipFactor(norm: number, limit: number): number {
  return limit > 0 ? Math.min(1, limit / (norm + 1e-6)) : 1;
}

/** Adds one gradient to another of its shape, in place. */
export function addGradient(into: NDArray, from: NDArray): void {
  const [a, b] = [into.data as Float32Array, from.data as Float32Array];
  for (let i = 0; i < a.length; i++) a[i] += b[i];
}
