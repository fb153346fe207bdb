import { RankineError } from '../errors.ts';
import { multiply } from './gemm.ts';
import type { Matrix, Real } from './matrix.ts';
import { qr } from './qr.ts';
import { type Random, random } from './random.ts';
import { type Svd, svd } from './svd.ts';

export interface TruncatedSvdOptions {
  /** Dimensions carried beyond `rank`; default 10. */
  readonly oversample?: number;
  /** Subspace iterations (each reads the matrix twice); default 2. */
  readonly iterations?: number;
  /** Where the start comes from; default the stream `truncated-svd` of seed 0. */
  readonly random?: Random;
}

/**
 * The `rank` largest singular triples by randomized subspace iteration with an orthonormalization after every
 * product (Halko, Martinsson, Tropp 2011, algorithms 4.4 and 5.1).
 * @throws RankineError `linalg/rank` where rank is not an integer of 1 to min(m, n); `linalg/not-finite`
 */
export function truncatedSvd<T extends Real>(
  a: Matrix<T>,
  rank: number,
  { oversample = 10, iterations = 2, random: source = random(0, 'truncated-svd') }: TruncatedSvdOptions = {},
): Svd<T> {
  const k = Math.min(a.rows, a.cols);
  if (!(Number.isInteger(rank) && rank >= 1 && rank <= k))
    throw new RankineError(
      'linalg/rank',
      `A ${a.rows}x${a.cols} matrix has no ${rank} singular values.`,
      `Ask for 1 to ${k}.`,
    );
  const width = Math.min(k, rank + oversample);
  if (width === k) return leading(svd(a), rank);
  const start = (
    a.data instanceof Float32Array ? new Float32Array(a.cols * width) : new Float64Array(a.cols * width)
  ) as T;
  source.fillNormal(start);
  let basis = qr(multiply(a, { rows: a.cols, cols: width, data: start })).q;
  for (let i = 0; i < iterations; i++)
    basis = qr(multiply(a, qr(multiply(a, basis, { transposeA: true })).q)).q;
  const { u, s, vt } = svd(multiply(basis, a, { transposeA: true }));
  return leading({ u: multiply(basis, u), s, vt }, rank);
}

function leading<T extends Real>({ u, s, vt }: Svd<T>, rank: number): Svd<T> {
  const data = u.data.slice(0, u.rows * rank) as T;
  for (let i = 0; i < u.rows; i++) data.set(u.data.subarray(i * u.cols, i * u.cols + rank), i * rank);
  return {
    u: { rows: u.rows, cols: rank, data },
    s: s.slice(0, rank) as T,
    vt: { rows: rank, cols: vt.cols, data: vt.data.slice(0, rank * vt.cols) as T },
  };
}
