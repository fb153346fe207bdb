import { matrix, multiply, solve, transpose } from '../src/linalg/index.ts';

/** RandLoRA's frozen matrices of an n×n layer as they lie in memory: A [r, 1, n], B [n, N, r], N = n/r. */
export interface Bases {
  readonly A: Float32Array;
  readonly B: Float32Array;
  readonly r: number;
}

/** Keeps the normal equations solvable. */
const RIDGE = 1e-9;

/**
 * How near Σ_b B_b Λ_b A Γ_b comes to an n×n matrix by alternating least squares in λ and γ; r divides n.
 * @param start of γ [N, n]
 * @returns the squared error that is left
 */
export function squaredErrorOfFit(
  target: Float64Array,
  { A, B, r }: Bases,
  start: ArrayLike<number>,
  rounds = 12,
): number {
  const n = Math.round(Math.sqrt(target.length));
  const N = n / r;
  const gamma = Float64Array.from(start);
  let lambda = new Float64Array(r * N);
  const U = matrix(n, n, Float64Array.from(B));
  const gramU = multiply(transpose(U), U).data;
  let error = 0;
  for (let round = 0; round < rounds; round++) {
    fitLambda();
    error = 0;
    for (let j = 0; j < n; j++) error += fitColumn(j);
  }
  return error;

  /** Column c of B̃ meets row c of Ã: λ is linear in their n rank-1 products. */
  function fitLambda(): void {
    const rows = new Float64Array(n * n).map((_, at) => {
      const [c, j] = [Math.floor(at / n), at % n];
      return A[Math.floor(c / N) * n + j] * gamma[(c % N) * n + j];
    });
    const V = matrix(n, n, rows);
    const gramV = multiply(V, transpose(V)).data;
    const TV = multiply(matrix(n, n, target), transpose(V)).data;
    const right = new Float64Array(n).map((_, c) => {
      let t = 0;
      for (let i = 0; i < n; i++) t += U.data[i * n + c] * TV[i * n + c];
      return t;
    });
    const gram = gramU.map((g, at) => g * gramV[at] + (at % (n + 1) === 0 ? RIDGE : 0));
    lambda = solve(matrix(n, n, gram), matrix(n, 1, right)).data as Float64Array<ArrayBuffer>;
  }

  /** Column j is linear in the N numbers γ[:, j]. */
  function fitColumn(j: number): number {
    const F = new Float64Array(n * N);
    for (let i = 0; i < n; i++)
      for (let b = 0; b < N; b++)
        for (let k = 0; k < r; k++)
          F[i * N + b] += lambda[k * N + b] * U.data[i * n + k * N + b] * A[k * n + j];
    const y = new Float64Array(n).map((_, i) => target[i * n + j]);
    const Ft = transpose(matrix(n, N, F));
    const gram = multiply(Ft, matrix(n, N, F)).data;
    for (let b = 0; b < N; b++) gram[b * N + b] += RIDGE;
    const g = solve(matrix(N, N, gram), multiply(Ft, matrix(n, 1, y))).data;
    for (let b = 0; b < N; b++) gamma[b * n + j] = g[b];
    const fitted = multiply(matrix(n, N, F), matrix(N, 1, g)).data;
    return y.reduce((t, v, i) => t + (v - fitted[i]) ** 2, 0);
  }
}
