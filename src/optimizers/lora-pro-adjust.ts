import {
  add,
  div,
  matmul,
  mean,
  mul,
  type NDArray,
  scale,
  sub,
  type Tensor,
  unsqueeze,
} from '../graph/index.ts';
import { eigh, matrix, multiply, transpose } from '../linalg/index.ts';
import type { PrepareInputs, StateSpec } from './optimizer.ts';

/** Keeps divisions by the eigenvalues of a zero factor finite; nothing beside those of any other. */
const TINY = 1e-30;

/** A symmetric r×r matrix by its eigenvalues (r) and eigenvectors (r×r, one a column). */
interface Spectrum {
  readonly values: Tensor;
  readonly vectors: Tensor;
}

/** One layer's factors A (r×n) and B (m×r), with A Aᵀ and Bᵀ B. */
export interface Factors {
  readonly A: Tensor;
  readonly B: Tensor;
  /** s of s B A. */
  readonly scale: number;
  /** Added to the eigenvalues before an inverse, as a share of their mean. */
  readonly ridge: number;
  readonly gramA: Spectrum;
  readonly gramB: Spectrum;
}

/** Something for either factor: gradients, or steps against them. */
export interface OfFactors {
  readonly A: Tensor;
  readonly B: Tensor;
}

/** Where `measureGrams` leaves the spectra: 2 r (r + 1) numbers, made anew before every update. */
export function gramState(rank: number): Readonly<Record<string, StateSpec>> {
  const square = { shape: [rank, rank] };
  const line = { shape: [rank] };
  return { valuesA: line, vectorsA: square, valuesB: line, vectorsB: square };
}

export function gramsOf(state: Readonly<Record<string, Tensor>>): Pick<Factors, 'gramA' | 'gramB'> {
  return {
    gramA: { values: state.valuesA, vectors: state.vectorsA },
    gramB: { values: state.valuesB, vectors: state.vectorsB },
  };
}

/** Eigendecompositions of A Aᵀ and Bᵀ B, in float64, for a rule over [A, B]. */
export function measureGrams({
  parameters: [A, B],
  state,
}: Pick<PrepareInputs, 'parameters' | 'state'>): void {
  const rows = wide(A);
  const columns = transpose(wide(B));
  for (const [letter, x] of [
    ['A', rows],
    ['B', columns],
  ] as const) {
    const { values, vectors } = eigh(multiply(x, x, { transposeB: true }));
    // Rounding may leave the zeros of a singular matrix below zero.
    (state[`values${letter}`].data as Float32Array).set(values.map((v) => Math.max(v, 0)));
    (state[`vectors${letter}`].data as Float32Array).set(vectors.data);
  }
}

/**
 * Largest over smallest eigenvalue of what is inverted, A Aᵀ or Bᵀ B with its ridge; infinite where it is singular,
 * undefined of a factor of zeros.
 */
export function conditionNumber({ data }: NDArray, ridge: number): number | undefined {
  const values = Array.from(data as Float32Array);
  const most = Math.max(...values);
  if (most === 0) return undefined;
  const added = (ridge * values.reduce((t, v) => t + v, 0)) / values.length;
  return (most + added) / (Math.min(...values) + added);
}

function wide({ shape: [rows, columns], data }: NDArray) {
  return matrix(rows, columns, Float64Array.from(data as Float32Array));
}

function inverse({ values, vectors }: Spectrum, ridge: number): Tensor {
  const held = add(add(values, mul(mean(values), ridge)), TINY);
  return matmul(div(vectors, held), vectors, { transB: true });
}

/**
 * The steps h of A and B whose change of W is nearest to the full gradient's G, from g = (s Bᵀ G, s G Aᵀ) alone
 * (LoRA-Pro, theorem 1, with X = 0): h_A = s⁻² (BᵀB)⁻¹ g_A, h_B = s⁻² [I − B (BᵀB)⁻¹ Bᵀ] g_B (AAᵀ)⁻¹.
 */
export function nearest(f: Factors, g: OfFactors): OfFactors {
  const inner = inverse(f.gramB, f.ridge);
  const held = matmul(f.B, matmul(inner, matmul(f.B, g.B, { transA: true })));
  const share = 1 / f.scale ** 2;
  return {
    A: scale(matmul(inner, g.A), share),
    B: scale(matmul(sub(g.B, held), inverse(f.gramA, f.ridge)), share),
  };
}

/** What h changes W by, to first order: s (B h_A + h_B A), m×n. */
export function equivalent(f: Factors, h: OfFactors): Tensor {
  return add(matmul(f.B, h.A, { alpha: f.scale }), matmul(h.B, f.A, { alpha: f.scale }));
}

/**
 * Of all steps with the same change of W, (h_A + X A, h_B − B X), those nearest to the factors' own gradients: X solves
 * BᵀB X + X AAᵀ = −h_A Aᵀ (theorem 3; h of `nearest`).
 */
export function nearestToOwn(f: Factors, h: OfFactors): OfFactors {
  const { gramA, gramB } = f;
  const right = matmul(h.A, f.A, { transB: true, alpha: -1 });
  const turned = matmul(matmul(gramB.vectors, right, { transA: true }), gramA.vectors);
  const sums = add(add(unsqueeze(gramB.values, 1), unsqueeze(gramA.values, 0)), TINY);
  const X = matmul(matmul(gramB.vectors, div(turned, sums)), gramA.vectors, { transB: true });
  return { A: add(h.A, matmul(X, f.A)), B: sub(h.B, matmul(f.B, X)) };
}
