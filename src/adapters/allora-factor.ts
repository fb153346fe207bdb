import { z } from 'zod';
import { add, matmul, maximum, mul, pow, sqrt, square, sum, type Tensor } from '../graph/index.ts';

/** What makes ALLoRA's factor, for the form and for the optimizer. */
export const alloraFields = {
  cap: z
    .number()
    .min(1)
    .default(10)
    .describe('largest factor, η_max: that of a row that has learned nothing'),
  power: z.number().positive().default(0.5).describe('p of κ = (‖D‖ + cap^(−1/p))^(−p)'),
  squared: z.boolean().default(false).describe('whether ‖D‖² stands in the factor instead of ‖D‖'),
};

/** Of what the norm is taken: rows of D = B A, rows of B, or all of D. */
export const alloraNorm = z.enum(['delta-row', 'b-row', 'matrix']);

export interface AlloraFactor {
  readonly cap: number;
  readonly power: number;
  readonly squared: boolean;
}

/** κ = (ℓ + cap^(−1/p))^(−p) for each length ℓ ≥ 0: cap at 0, falling, near ℓ^(−p) far from it. */
export function falling(length: Tensor, { cap, power, squared }: AlloraFactor): Tensor {
  return pow(add(squared ? square(length) : length, cap ** (-1 / power)), -power);
}

/**
 * κ of each output row of D = B A (Huang and Balestriero 2024, arXiv 2410.09692): [m, 1], or [1, 1] for the norm of all
 * of D. ‖D_i‖² = B_i (A Aᵀ) B_iᵀ, so that no m×n matrix is made.
 */
export function rowFactors(
  A: Tensor,
  B: Tensor,
  o: AlloraFactor & { readonly norm: z.infer<typeof alloraNorm> },
): Tensor {
  const squares = o.norm === 'b-row' ? square(B) : squaresOfProduct(A, B);
  const total = o.norm === 'matrix' ? sum(squares, [0, 1], true) : sum(squares, 1, true);
  // Rounding may leave a square below zero.
  return falling(sqrt(maximum(total, 0)), o);
}

/** m×r numbers whose sums over a row are the squared norms of D's rows. */
function squaresOfProduct(A: Tensor, B: Tensor): Tensor {
  const gram = matmul(A, A, { transB: true });
  return mul(matmul(B, gram), B);
}
