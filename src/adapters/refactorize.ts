import type { NDArray } from '../graph/index.ts';
import { type Matrix, multiply, qr, type Random, svd, transpose } from '../linalg/index.ts';

/** Singular values at or below this share of the largest have no direction of their own. */
const NEGLIGIBLE = 1e-8;

/**
 * Balances the factors of a product in place: B ← U √Σ and A ← √Σ Vᵀ of the product's SVD, so that B A stays and
 * BᵀB = A Aᵀ = Σ, descending (Glentis et al. 2025, arXiv 2505.22922). Two thin QRs and an SVD of r×r, in float64.
 *
 * Where the product has a lower rank, the directions left over get a random row of A and a zero column of B, as a layer
 * starts: two zeros would never learn. A product of zero is left as it is.
 *
 * @param B m×r, r at most m and n
 * @param A r×n
 * @returns rank of the product
 */
export function refactorize(B: NDArray, A: NDArray, random: Random): number {
  const [r, n] = A.shape;
  const m = B.shape[0];
  const left = qr(wide(B));
  const right = qr(transpose(wide(A)));
  const core = svd(multiply(left.r, transpose(right.r)));
  const rank = core.s.filter((s) => s > NEGLIGIBLE * core.s[0]).length;
  if (rank === 0) return 0;
  const U = multiply(left.q, core.u);
  const Vt = multiply(core.vt, transpose(right.q));
  const fresh = new Float64Array((r - rank) * n);
  if (rank < r) random.fillUniform(fresh);
  for (let k = 0; k < rank; k++) {
    const root = Math.sqrt(core.s[k]);
    for (let i = 0; i < m; i++) B.data[i * r + k] = root * U.data[i * r + k];
    for (let j = 0; j < n; j++) A.data[k * n + j] = root * Vt.data[k * n + j];
  }
  for (let k = rank; k < r; k++) {
    for (let i = 0; i < m; i++) B.data[i * r + k] = 0;
    for (let j = 0; j < n; j++) A.data[k * n + j] = (2 * fresh[(k - rank) * n + j] - 1) / Math.sqrt(n);
  }
  return rank;
}

function wide(a: NDArray): Matrix<Float64Array> {
  const [rows, cols] = a.shape;
  return { rows, cols, data: Float64Array.from(a.data as Float32Array) };
}
