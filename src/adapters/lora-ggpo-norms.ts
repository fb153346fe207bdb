import {
  add,
  greater,
  matmul,
  maximum,
  mul,
  type NDArray,
  scale,
  sqrt,
  sum,
  type Tensor,
  where,
} from '../graph/index.ts';
import { type Matrix, matrix, multiply } from '../linalg/index.ts';
import type { LoraGgpoOptions } from './lora-ggpo-options.ts';
import type { Tensors } from './weight-form.ts';

/** ‖W₀,i‖² of the rows of W₀ ∈ R^{m×n}. */
export function squaredRows({ shape: [m, n], data }: NDArray): Float64Array {
  return Float64Array.from({ length: m }, (_, i) => {
    let total = 0;
    for (let j = i * n; j < (i + 1) * n; j++) total += Number(data[j]) ** 2;
    return total;
  });
}

/** ‖(BA)_i‖² = B_i (A Aᵀ) B_iᵀ, without the product. */
function squaredProduct({ A, B }: Tensors): Tensor {
  return sum(mul(matmul(B, matmul(A, A, { transB: true })), B), 1);
}

/**
 * τ ∈ R^m, the standard deviation of a row's noise: (σ/√n) √(w² + β γ²) with w the row's norm in W₀ + s B A and γ that in
 * the last update's gradient. `sdscripts`: (σ w + β γ²)/√m from the mean row of W₀ and B A without s, nothing before
 * there is a gradient.
 */
export function deviations(weight: Tensor, p: Tensors, s: number, o: LoraGgpoOptions): Tensor {
  const { sigma, beta } = o;
  const [m, n] = weight.shape;
  const gradient = mul(p.gamma, p.gamma);
  const product = squaredProduct(p);
  if (o.noise === 'sdscripts') {
    const size = sqrt(add(p.rows, product));
    const tau = scale(add(scale(size, sigma), scale(gradient, beta)), 1 / Math.sqrt(m));
    return where(greater(sum(p.gamma), 0), tau, 0);
  }
  // 2 s ⟨W₀,i, (BA)_i⟩ by C = W₀ Aᵀ.
  const across = sum(mul(matmul(weight, p.A, { transB: true }), p.B), 1);
  const rows = add(p.rows, add(scale(across, 2 * s), scale(product, s * s)));
  // Rounding may leave a row that vanishes below zero.
  const size = add(maximum(rows, 0), scale(gradient, beta));
  return scale(sqrt(size), sigma / Math.sqrt(n));
}

/** Factors A, B and what they are multiplied with: their gradients. */
export interface FactorGradients {
  readonly A: NDArray;
  readonly B: NDArray;
  readonly dA: NDArray;
  readonly dB: NDArray;
}

/** Row norms of Ĝ = s (B ∂A + ∂B A) ∈ R^{m×n}, through r×r products. */
export function gradientRows({ A, B, dA, dB }: FactorGradients, s: number): Float64Array {
  const [a, b, da, db] = [A, B, dA, dB].map(wide);
  const right = (x: Matrix<Float64Array>, y: Matrix<Float64Array>) => multiply(x, y, { transposeB: true });
  const parts = [
    rowDots(multiply(b, right(da, da)), b),
    rowDots(multiply(b, right(da, a)), db),
    rowDots(multiply(db, right(a, a)), db),
  ];
  return Float64Array.from(
    { length: b.rows },
    (_, i) => s * Math.sqrt(Math.max(0, parts[0][i] + 2 * parts[1][i] + parts[2][i])),
  );
}

function wide({ shape: [rows, columns], data }: NDArray): Matrix<Float64Array> {
  return matrix(rows, columns, Float64Array.from(data as Float32Array));
}

function rowDots(x: Matrix<Float64Array>, y: Matrix<Float64Array>): Float64Array {
  const { rows, cols } = x;
  return Float64Array.from({ length: rows }, (_, i) => {
    let total = 0;
    for (let k = i * cols; k < (i + 1) * cols; k++) total += x.data[k] * y.data[k];
    return total;
  });
}
