import { type NDArray, zeros } from '../graph/index.ts';
import { type Random, svd } from '../linalg/index.ts';

/** A weight as its singular triples, vectors as rows. */
export interface Spectrum {
  /** p×m, the left vectors. */
  readonly left: Float32Array;
  /** p values, descending. */
  readonly values: Float32Array;
  /** p×n, the right vectors. */
  readonly right: Float32Array;
}

/** W = Uᵀ diag(σ) V of an m×n array, with U p×m and V p×n, p = min(m, n). */
export function decompose(weight: NDArray): Spectrum {
  const [rows, cols] = weight.shape;
  const { u, s, vt } = svd({ rows, cols, data: weight.data as Float32Array });
  const p = s.length;
  const left = new Float32Array(p * rows);
  for (let i = 0; i < rows; i++) for (let k = 0; k < p; k++) left[k * rows + i] = u.data[i * u.cols + k];
  return { left, values: s as Float32Array, right: vt.data as Float32Array };
}

/** P(i) = ½ (1/p + σᵢ/Σσ): every vector has a chance, strong ones a larger. All σ zero: uniform. */
export function samplingProbabilities(values: ArrayLike<number>): Float64Array {
  const total = Array.from(values).reduce((a, b) => a + b, 0);
  const p = values.length;
  return Float64Array.from(values, (s) => 0.5 * (1 / p + (total > 0 ? s / total : 1 / p)));
}

/**
 * Indices drawn one after the other without replacement, ascending: the largest of log P + Gumbel noise
 * (Kool et al. 2019, arXiv 1903.06059, section 2).
 */
export function drawWithoutReplacement(probabilities: Float64Array, count: number, random: Random): number[] {
  const uniform = new Float64Array(probabilities.length);
  random.fillUniform(uniform);
  const keys = uniform.map((u, i) => Math.log(probabilities[i]) - Math.log(-Math.log(Math.max(u, 1e-300))));
  const order = Array.from(keys.keys()).sort((a, b) => keys[b] - keys[a]);
  return order.slice(0, count).sort((a, b) => a - b);
}

/** Largest |⟨rowᵢ, rowⱼ⟩ − δᵢⱼ|: how far rows have drifted from orthonormal. */
export function drift(rows: Float32Array, width: number): number {
  const count = rows.length / width;
  let most = 0;
  for (let i = 0; i < count; i++)
    for (let j = 0; j <= i; j++) {
      let dot = 0;
      for (let k = 0; k < width; k++) dot += rows[i * width + k] * rows[j * width + k];
      most = Math.max(most, Math.abs(dot - Number(i === j)));
    }
  return most;
}

/** The matrix r×p that picks rows: S[k, index[k]] = 1. */
export function selection(indices: readonly number[], p: number): NDArray {
  const S = zeros([indices.length, p]);
  indices.forEach((index, k) => {
    S.data[k * p + index] = 1;
  });
  return S;
}

/** The indices of a selection matrix. */
export function selected(S: NDArray): number[] {
  const [r, p] = S.shape;
  return Array.from({ length: r }, (_, k) =>
    (S.data as Float32Array).subarray(k * p, (k + 1) * p).indexOf(1),
  );
}
