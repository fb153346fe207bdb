import { type NDArray, zeros } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { NolaOptions } from './nola-options.ts';
import { basisRows, uniformEntry } from './shared-basis.ts';

export type BasisSide = 'A' | 'B';

/** The random matrices of one factor of one layer, made on demand. */
export interface NolaBasis {
  /** [r, n] or [m, r]. */
  readonly shape: readonly [number, number];
  readonly count: number;
  /** Matrices `from` … `from + rows − 1`, flattened, one a row. */
  chunk(from: number, rows: number): NDArray;
  /** A⁰, where the start is exactly W₀. */
  readonly fixed?: () => NDArray;
}

/**
 * Streams are named by layer and side, matrix i is draw i: any chunk in any order gives the same numbers. Part of the
 * file format (`BASIS_GENERATOR`).
 */
export function nolaBasis(layer: LayerSpec, o: NolaOptions, side: BasisSide): NolaBasis {
  const shape: [number, number] = side === 'A' ? [o.rank, layer.in] : [layer.out, o.rank];
  const columns = shape[0] * shape[1];
  const stream = `nola/${layer.name}/${side}`;
  // U(−1, 1)/√k, as in the authors' language experiments; Kaiming in the vision code, which starts at the mean.
  const bound = o.start === 'zero' ? 1 / Math.sqrt(o.bases) : 1 / Math.sqrt(shape[1]);
  const kaiming = uniformEntry(1 / Math.sqrt(shape[1]));
  return {
    shape,
    count: o.bases,
    chunk: (from, rows) => basisRows(o.seed, stream, { from, rows, columns }, uniformEntry(bound)),
    ...(o.start === 'zero' && side === 'A'
      ? {
          fixed: () => ({ ...basisRows(o.seed, `${stream}/fixed`, { rows: 1, columns }, kaiming), shape }),
        }
      : {}),
  };
}

/** All bases of a layer as arrays, for training. */
export function nolaSides(layer: LayerSpec, o: NolaOptions): Record<string, NDArray> {
  const whole = (side: BasisSide) => {
    const basis = nolaBasis(layer, o, side);
    return { array: { ...basis.chunk(0, o.bases), shape: [o.bases, ...basis.shape] }, basis };
  };
  const [a, b] = [whole('A'), whole('B')];
  return {
    basesA: a.array,
    basesB: b.array,
    ...(a.basis.fixed ? { fixedA: a.basis.fixed() } : {}),
  };
}

/** Fixed part + Σ cᵢ · matrix i, summed in float64 in the order of i; at most `rows` matrices are alive. */
export function mixture(basis: NolaBasis, coefficients: NDArray, rows = 16): NDArray {
  const out = zeros(basis.shape);
  const size = out.data.length;
  const sums = Float64Array.from((basis.fixed?.() ?? out).data as Float32Array);
  for (let from = 0; from < basis.count; from += rows) {
    const count = Math.min(rows, basis.count - from);
    const { data } = basis.chunk(from, count);
    for (let i = 0; i < count; i++) {
      const c = Number(coefficients.data[from + i]);
      for (let j = 0; j < size; j++) sums[j] += c * Number(data[i * size + j]);
    }
  }
  (out.data as Float32Array).set(sums);
  return out;
}
