import { RankineError } from '../errors.ts';
import { multiply } from './gemm.ts';
import {
  castLike,
  type Matrix,
  makeLargestPositive,
  type Real,
  scaleToOne,
  toFloat64,
  transposed,
} from './matrix.ts';
import { thinQr } from './qr.ts';
import { type Random, random } from './random.ts';
import { type Svd, svd } from './svd.ts';

export interface TruncatedSvdOptions {
  /** Dimensions carried beyond `rank`; default 8. */
  readonly oversample?: number;
  /** Subspace iterations (each reads the matrix twice); default 2. */
  readonly iterations?: number;
  /** Where the start comes from; default the stream `truncated-svd` of seed 0. */
  readonly random?: Random;
}

/**
 * The `rank` largest singular triples by randomized subspace iteration with a Householder orthonormalization after
 * every product (Halko, Martinsson, Tropp 2011, algorithm 4.4, on the row space, and 5.1). Products in the element
 * type of `a`, orthonormalizations in float64. The values come out accurate where the spectrum decays; on a flat one
 * they are underestimated.
 * @param a m x n
 * @returns u (m x rank), s (rank), vt (rank x n), signs as in `svd`
 * @throws RankineError `linalg/rank` where rank is not an integer of 1 to min(m, n), `linalg/range` where an option is
 *   not an integer of 0 or more, `linalg/not-finite`
 */
export function truncatedSvd<T extends Real>(
  a: Matrix<T>,
  rank: number,
  { oversample = 8, iterations = 2, random: source = random(0, 'truncated-svd') }: TruncatedSvdOptions = {},
): Svd<T> {
  const k = Math.min(a.rows, a.cols);
  check(a, rank, oversample, iterations);
  const width = Math.min(k, rank + oversample);
  if (width === k) return leading(svd(a), rank);
  const work = toFloat64(a);
  const scale = scaleToOne(work);
  const scaled: Matrix<T> = scale === 1 ? a : { ...a, data: castLike(work, a.data) };
  const { q, r, z } = subspace(scaled, width, iterations, source);
  const small = svd({ rows: width, cols: width, data: r });
  for (let i = 0; i < width; i++) small.s[i] /= scale;
  const ut = multiply(transposeSmall(small.u), { rows: width, cols: a.rows, data: q });
  const vt = multiply(small.vt, { rows: width, cols: a.cols, data: z });
  return finish(ut, small.s, vt, rank, a.data);
}

function check(a: Matrix, rank: number, oversample: number, iterations: number): void {
  const k = Math.min(a.rows, a.cols);
  if (!(Number.isInteger(rank) && rank >= 1 && rank <= k))
    throw new RankineError(
      'linalg/rank',
      `A ${a.rows}x${a.cols} matrix has no ${rank} singular values.`,
      `Ask for 1 to ${k}.`,
    );
  for (const [name, value] of Object.entries({ oversample, iterations }))
    if (!(Number.isInteger(value) && value >= 0))
      throw new RankineError('linalg/range', `${name} is ${value}.`, 'Give an integer of 0 or more.');
}

/**
 * A Z = Q R with Z an orthonormal basis of (nearly) the leading row space; Q and Z are given as rows. Bases are kept
 * as rows because a product with few long rows streams through the matrix, which is transposed once for that.
 */
function subspace<T extends Real>(a: Matrix<T>, width: number, iterations: number, source: Random) {
  const at: Matrix<T> = { rows: a.cols, cols: a.rows, data: transposed(a.data, a.rows, a.cols) };
  const start = (
    a.data instanceof Float32Array ? new Float32Array(width * a.rows) : new Float64Array(width * a.rows)
  ) as T;
  source.fillNormal(start);
  let z = orthonormalRows(multiply({ rows: width, cols: a.rows, data: start }, a)).rows;
  let left = orthonormalRows(multiply(narrow(z, width, a), at));
  for (let i = 0; i < iterations; i++) {
    z = orthonormalRows(multiply(narrow(left.rows, width, at), a)).rows;
    left = orthonormalRows(multiply(narrow(z, width, a), at));
  }
  return { q: left.rows, r: left.r, z };
}

function narrow<T extends Real>(rows: Float64Array, width: number, like: Matrix<T>): Matrix<T> {
  return { rows: width, cols: like.cols, data: castLike(rows, like.data) };
}

/** The transposed matrix is Q R; returns Q as rows, and R. */
function orthonormalRows(a: Matrix): { rows: Float64Array; r: Float64Array } {
  const columns = transposed(Float64Array.from(a.data), a.rows, a.cols);
  const { q, r } = thinQr(columns, a.cols, a.rows);
  return { rows: transposed(q, a.cols, a.rows), r };
}

function transposeSmall(a: Matrix<Float64Array>): Matrix<Float64Array> {
  return { rows: a.cols, cols: a.rows, data: transposed(a.data, a.rows, a.cols) };
}

/** Cuts to the rank, fixes the signs, casts. */
function finish<T extends Real>(
  ut: Matrix<Float64Array>,
  s: Float64Array,
  vt: Matrix<Float64Array>,
  rank: number,
  like: T,
): Svd<T> {
  const m = ut.cols;
  const n = vt.cols;
  for (let i = 0; i < rank; i++)
    if (makeLargestPositive(ut.data.subarray(i * m, (i + 1) * m)))
      for (let j = i * n; j < (i + 1) * n; j++) vt.data[j] = -vt.data[j];
  return {
    u: { rows: m, cols: rank, data: castLike(transposed(ut.data.slice(0, rank * m), rank, m), like) },
    s: castLike(s.slice(0, rank), like),
    vt: { rows: rank, cols: n, data: castLike(vt.data.slice(0, rank * n), like) },
  };
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
