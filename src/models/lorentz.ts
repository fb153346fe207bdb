import { add, concat, mul, slice, sqrt, sum, type Tensor } from '../graph/index.ts';
import type { Context } from './context.ts';

/**
 * Points of hyperbolic space of curvature −K lie on the sheet ⟨x, x⟩ = −1/K, x₀ > 0 of R^{1+d}, where
 * ⟨x, y⟩ = −x₀y₀ + Σ xᵢyᵢ. The last axis holds [time x₀, space x₁ … x_d].
 */
export function lorentzPoint(space: Tensor, K = 1): Tensor {
  const time = sqrt(add(sum(mul(space, space), -1, true), 1 / K));
  return concat([time, space], -1);
}

/**
 * Lorentz linear layer (HyboNet; Chen et al. 2022, arXiv 2105.14686), as SST (arXiv 2405.15481) takes it: W maps all of
 * x to the space part, and time follows from it. The matrix is an ordinary layer by name, so that a weight form on it
 * changes nothing else.
 *
 * @param name a linear layer with in = 1 + d of its input
 * @param x points [.., 1 + d]
 * @returns points [.., 1 + out]
 */
export function lorentzLinear(c: Context, name: string, x: Tensor, K = 1): Tensor {
  return lorentzPoint(c.linear(name, x), K);
}

/** ⟨x, y⟩ over the last axis, kept with one element. */
export function lorentzInner(x: Tensor, y: Tensor): Tensor {
  const products = mul(x, y);
  const time = slice(products, -1, 0, 1);
  // −x₀y₀ + Σ = Σ of all − 2 x₀y₀.
  return add(sum(products, -1, true), mul(time, -2));
}

/** Squared Lorentzian distance ⟨x − y, x − y⟩ = −2/K − 2⟨x, y⟩ (Law et al. 2019): 0 for equal points, else above. */
export function lorentzDistance(x: Tensor, y: Tensor, K = 1): Tensor {
  return add(mul(lorentzInner(x, y), -2), -2 / K);
}
