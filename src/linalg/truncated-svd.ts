import { invariant, RankineError } from '../errors.ts';
import { gemm, multiplierBy, multiply } from './gemm.ts';
import {
  castLike,
  largestMagnitude,
  type Matrix,
  makeLargestPositive,
  powerToOne,
  type Real,
  transposed,
} from './matrix.ts';
import { thinQr } from './qr.ts';
import { type Random, random } from './random.ts';
import { type Svd, svd } from './svd.ts';

/** Rows multiplied at a time: thin enough for many Krylov steps, wide enough to pay for reading the matrix. */
const BLOCK = 16;
/** A part this small is removed to working precision by one more subtraction. */
const OVERLAP = 1e-3;
/** The square of a part this small is below working precision. */
const NOTHING = 1e-9;
const MAX_PASSES = 10;

export interface TruncatedSvdOptions {
  /** Least number of dimensions carried beyond `rank`; default 10. */
  readonly oversample?: number;
  /** Least number of Krylov steps (each reads the matrix twice) beyond the first; default 5. */
  readonly iterations?: number;
  /** Where the start comes from; default the stream `truncated-svd` of seed 0. */
  readonly random?: Random;
}

/**
 * The `rank` largest singular triples by randomized block Krylov iteration (Musco and Musco 2015, algorithm 2): as
 * subspace iteration, but the bases of all steps are kept, each orthonormalized against all before it, so the same
 * products give far more accurate values. Products in the element type of `a`, orthonormalizations in float64.
 * @param a m x n
 * @returns u (m x rank), s (rank), vt (rank x n), signs as in `svd`
 * @throws RankineError `linalg/rank` where rank is not an integer of 1 to min(m, n), `linalg/range` where an option is
 *   not an integer of 0 or more, `linalg/not-finite`
 */
export function truncatedSvd<T extends Real>(
  a: Matrix<T>,
  rank: number,
  { oversample = 10, iterations = 5, random: source = random(0, 'truncated-svd') }: TruncatedSvdOptions = {},
): Svd<T> {
  check(a, rank, oversample, iterations);
  const k = Math.min(a.rows, a.cols);
  const steps = Math.max(iterations + 1, Math.ceil((rank + oversample) / BLOCK));
  // A Krylov space of most of the dimensions costs more than the exact decomposition.
  if (steps * BLOCK > k / 2) return leading(svd(a), rank);
  const scale = powerToOne(largestMagnitude(a));
  const scaled: Matrix<T> = scale === 1 ? a : { ...a, data: a.data.map((x) => x * scale) as T };
  const { basis, images } = krylov(scaled, steps, source);
  // A ~ images^T basis, so the left vectors of A are the right ones of the images.
  const small = svd(images);
  const left = leading(small, rank);
  const u = {
    rows: a.rows,
    cols: rank,
    data: transposed(small.vt.data.slice(0, rank * a.rows), rank, a.rows),
  };
  const vt = multiply(left.u, basis, { transposeA: true });
  return finish(
    u,
    left.s.map((s) => s / scale),
    vt,
    a.data,
  );
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
 * An orthonormal basis (as rows) of the row space of Omega A, Omega A (A^T A), … and its images basis A^T. Bases are
 * kept as rows because few long rows stream through the matrix, which is transposed once for that.
 */
function krylov<T extends Real>(a: Matrix<T>, steps: number, source: Random) {
  const { rows: m, cols: n } = a;
  const timesA = multiplierBy(a);
  const timesAt = multiplierBy(a, { transposeB: true });
  const basis = { rows: steps * BLOCK, cols: n, data: new Float64Array(steps * BLOCK * n) };
  const images = { rows: steps * BLOCK, cols: m, data: new Float64Array(steps * BLOCK * m) };
  let left: Float64Array = new Float64Array(BLOCK * m);
  source.fillNormal(left);
  for (let step = 0; step < steps; step++) {
    const product = timesA({ rows: BLOCK, cols: m, data: castLike(left, a.data) });
    const block = orthonormalAgainst(basis.data, step * BLOCK, new Float64Array(product.data), n);
    basis.data.set(block, step * BLOCK * n);
    const image = timesAt({ rows: BLOCK, cols: n, data: castLike(block, a.data) }).data;
    images.data.set(image, step * BLOCK * m);
    if (step + 1 < steps) left = orthonormalRows(new Float64Array(image), m);
  }
  return { basis, images };
}

/**
 * Orthonormal rows, orthogonal to the first `count` rows of `basis`; overwrites `rows`. Repeated until orthonormal rows
 * had next to no part in the basis: where the rank is exhausted, QR fills up with directions that may lie in it.
 */
function orthonormalAgainst(basis: Float64Array, count: number, rows: Float64Array, n: number): Float64Array {
  subtractPart(basis, count, rows, n);
  let out = orthonormalRows(rows, n);
  for (let pass = 1; pass < MAX_PASSES; pass++) {
    const part = subtractPart(basis, count, out, n);
    // Taking away so little leaves the rows orthonormal, up to its square.
    if (part < NOTHING) return out;
    out = orthonormalRows(out, n);
    if (part < OVERLAP) return out;
  }
  invariant(false, 'the Krylov basis does not become orthogonal');
}

/** Takes from the rows their part in the first `count` rows of `basis`; returns its largest coefficient. */
function subtractPart(basis: Float64Array, count: number, rows: Float64Array, n: number): number {
  const inner = { data: new Float64Array(BLOCK * count), offset: 0, stride: count };
  const view = (data: Float64Array, transposed = false) => ({ data, offset: 0, stride: n, transposed });
  gemm(BLOCK, count, n, 1, view(rows), view(basis, true), inner);
  gemm(BLOCK, n, count, -1, inner, view(basis), view(rows));
  return largestMagnitude({ rows: BLOCK, cols: count, data: inner.data });
}

/** An orthonormal basis of the space of the rows, as rows. */
function orthonormalRows(rows: Float64Array, n: number): Float64Array {
  return transposed(thinQr(transposed(rows, BLOCK, n), n, BLOCK).q, n, BLOCK);
}

/** Fixes the signs, casts. */
function finish<T extends Real>(
  u: Matrix<Float64Array>,
  s: Float64Array,
  vt: Matrix<Float64Array>,
  like: T,
): Svd<T> {
  const ut = transposed(u.data, u.rows, u.cols);
  for (let i = 0; i < u.cols; i++)
    if (makeLargestPositive(ut.subarray(i * u.rows, (i + 1) * u.rows)))
      for (let j = i * vt.cols; j < (i + 1) * vt.cols; j++) vt.data[j] = -vt.data[j];
  return {
    u: { ...u, data: castLike(transposed(ut, u.cols, u.rows), like) },
    s: castLike(s, like),
    vt: { ...vt, data: castLike(vt.data, like) },
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
