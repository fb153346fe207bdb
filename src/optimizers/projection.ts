import { z } from 'zod';
import { matmul, type NDArray, type Tensor } from '../graph/index.ts';
import {
  type Matrix,
  matrix,
  type Random,
  shortVectors,
  svd,
  transpose,
  truncatedSvd,
} from '../linalg/index.ts';
import type { ParameterInfo, PrepareInputs, StateSpec } from './optimizer.ts';
import { checkRank } from './select.ts';

export const projectionOptions = z.strictObject({
  rank: z.number().int().min(1).default(128).describe('dimensions of the subspace, r'),
  gap: z.number().int().min(1).default(200).describe('steps between new bases, T'),
  scale: z.number().positive().default(1).describe('multiplies the lifted step, α'),
  projection: z
    .enum(['std', 'reverse_std', 'right', 'left', 'full'])
    .default('std')
    .describe('side of the basis; std: the shorter one'),
  decomposition: z
    .enum(['exact', 'randomized'])
    .default('exact')
    .describe('how the basis is found; randomized is faster and nearly as good'),
});

export type ProjectionOptions = z.infer<typeof projectionOptions>;

/** A moving subspace of a gradient's rows, columns or both (GaLore, Zhao et al. 2024, arXiv 2403.03507). */
export interface Projection {
  /** Bases: `left` P (m×r, orthonormal columns), `right` Q (r×n, orthonormal rows). */
  readonly state: Readonly<Record<string, StateSpec>>;
  /** Shape of what is projected. */
  readonly shape: readonly [number, number];
  /** R = Pᵀ G Qᵀ, with the bases that there are. */
  down(gradient: Tensor, state: Readonly<Record<string, Tensor>>): Tensor;
  /** P R Q, unscaled. */
  up(low: Tensor, state: Readonly<Record<string, Tensor>>): Tensor;
  /** True where `prepare` will look at the gradient. */
  due(inputs: Pick<PrepareInputs, 'step' | 'state'>): boolean;
  /** At steps 1, T + 1, 2T + 1, … finds the bases of the gradient's largest singular values. */
  prepare(inputs: PrepareInputs): void;
}

/** @throws RankineError `optimizers/rank` where the rank exceeds the matrix */
export function projection(method: string, parameter: ParameterInfo, o: ProjectionOptions): Projection {
  checkRank(method, parameter, o.rank);
  const [m, n] = parameter.shape;
  const { left, right } = sides(parameter, o.projection);
  return {
    state: {
      ...(left && { left: { shape: [m, o.rank], decomposed: true } }),
      ...(right && { right: { shape: [o.rank, n], decomposed: true } }),
    },
    shape: [left ? o.rank : m, right ? o.rank : n],
    down(g, s) {
      const rows = left ? matmul(s.left, g, { transA: true }) : g;
      return right ? matmul(rows, s.right, { transB: true }) : rows;
    },
    up(low, s) {
      const rows = left ? matmul(s.left, low) : low;
      return right ? matmul(rows, s.right) : rows;
    },
    due: (inputs) => isDue(inputs, o.gap),
    prepare: (inputs) => {
      if (isDue(inputs, o.gap)) refresh(inputs, o, parameter.layer?.transposed ?? false);
    },
  };
}

/** Which bases there are, in the orientation in which the weight is stored. */
function sides({ shape: [m, n], layer }: ParameterInfo, kind: ProjectionOptions['projection']) {
  if (kind === 'full') return { left: true, right: true };
  // The rule is about W ∈ R^{out×in}; GPT-2 stores in×out, where the sides change places.
  const flipped = layer?.transposed ?? false;
  const tall = flipped ? n >= m : m >= n;
  const onRight = kind === 'right' || (kind === 'std' && tall) || (kind === 'reverse_std' && !tall);
  return { left: onRight === flipped, right: onRight !== flipped };
}

function isDue({ step, state }: Pick<PrepareInputs, 'step' | 'state'>, gap: number): boolean {
  if ((step - 1) % gap === 0) return true;
  // No gradient has shown a direction so far.
  return [state.left, state.right].every((basis) => !basis || isZero(basis));
}

function refresh(
  { step, gradients: [g], state, random }: PrepareInputs,
  o: ProjectionOptions,
  flipped: boolean,
) {
  // A zero gradient has no directions: the old basis stays.
  if (isZero(g)) return;
  const stored = matrix(g.shape[0], g.shape[1], g.data as Float32Array);
  // The signs of singular vectors matter, since moments outlive the basis: they are those of out×in.
  const [left, right] = [state.left, state.right].map((basis) => basis !== undefined);
  const wants = flipped ? { left: right, right: left } : { left, right };
  const found = decompose({ stored, flipped }, wants, o, random(`basis/${step}`));
  const [rows, columns] = flipped ? [found.vt, found.ut] : [found.ut, found.vt];
  if (state.right) copyRows(columns!, state.right);
  if (state.left) (state.left.data as Float32Array).set(transpose(firstRows(rows!, o.rank)).data);
}

/** Singular vectors, a row each, of the sides that are wanted. */
interface Vectors {
  readonly ut?: Matrix<Float32Array>;
  readonly vt?: Matrix<Float32Array>;
}

/** @param weight what a checkpoint stores, turned where that is in×out */
function decompose(
  { stored, flipped }: { readonly stored: Matrix<Float32Array>; readonly flipped: boolean },
  wants: Readonly<Record<'left' | 'right', boolean>>,
  { decomposition, rank }: ProjectionOptions,
  source: Random,
): Vectors {
  const tall = flipped ? stored.cols >= stored.rows : stored.rows >= stored.cols;
  if (decomposition === 'exact' && wants.left !== wants.right && wants.right === tall)
    return { [wants.right ? 'vt' : 'ut']: shortVectors(stored, rank, { flipped }) };
  const weight = flipped ? transpose(stored) : stored;
  const { u, vt } = decomposition === 'exact' ? svd(weight) : truncatedSvd(weight, rank, { random: source });
  return { ut: transpose(u), vt };
}

function firstRows(a: Matrix<Float32Array>, count: number): Matrix<Float32Array> {
  return matrix(count, a.cols, a.data.subarray(0, count * a.cols));
}

function copyRows(from: Matrix<Float32Array>, into: NDArray): void {
  (into.data as Float32Array).set(firstRows(from, into.shape[0]).data);
}

export function isZero(a: NDArray): boolean {
  return (a.data as Float32Array).every((x) => x === 0);
}
