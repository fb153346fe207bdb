import { invariant } from '../errors.ts';
import { scratch } from './scratch.ts';

/**
 * The singular values of M = [z; diag(d)] (first row z, d_0 = 0): the roots s of
 * 1 + sum_j z_j^2 / ((d_j - s)(d_j + s)) = 0, one in every (d_i, d_{i+1}), the last in (d_last, |(d_last, z)|).
 * Gu and Eisenstat, "A divide-and-conquer algorithm for the bidiagonal SVD", SIAM J. Matrix Anal. Appl. 16 (1995).
 */
export interface SecularRoots {
  readonly s: Float64Array;
  /** n x n, row i: d_j - s_i, to nearly full relative precision. */
  readonly minus: Float64Array;
  /** n x n, row i: d_j + s_i. */
  readonly plus: Float64Array;
}

/**
 * The next call may take the memory of `minus` and `plus`.
 * @param d ascending, d[0] = 0, neighbours apart by more than rounding
 * @param z no element zero
 */
export function secularRoots(d: Float64Array, z: Float64Array): SecularRoots {
  const n = d.length;
  const s = new Float64Array(n);
  const minus = scratch('secular/minus', n * n);
  const plus = scratch('secular/plus', n * n);
  let norm = 0;
  for (let j = 0; j < n; j++) norm += z[j] * z[j];
  for (let i = 0; i < n; i++) {
    const end = i + 1 < n ? d[i + 1] : Math.sqrt(d[i] * d[i] + norm);
    s[i] = root(d, z, i, end, minus.subarray(i * n, (i + 1) * n), plus.subarray(i * n, (i + 1) * n));
  }
  return { s, minus, plus };
}

/** Finds root i as (pole + t), so that d_j - s = (d_j - pole) - t has no cancellation beyond that of d_j - pole. */
function root(
  d: Float64Array,
  z: Float64Array,
  i: number,
  end: number,
  minus: Float64Array,
  plus: Float64Array,
): number {
  const n = d.length;
  const gap = end - d[i];
  let low = 0;
  let high = gap;
  // The sign at the middle tells which pole is nearer: the function rises between poles.
  const middle = evaluate(d, z, d[i], gap / 2, i);
  const fromBelow = i + 1 === n || middle.value >= 0;
  const pole = fromBelow ? d[i] : end;
  if (fromBelow) high = middle.value >= 0 ? gap / 2 : gap;
  else [low, high] = [-gap / 2, 0];
  if (i + 1 === n && middle.value < 0) low = gap / 2;
  const t = findZero(d, z, i, pole, low, high, gap);
  for (let j = 0; j < n; j++) {
    minus[j] = d[j] - pole - t;
    plus[j] = d[j] + pole + t;
  }
  return pole + t;
}

/**
 * The secular function at pole + t: its value, the slopes (by s^2) of the sums over the poles up to i and beyond,
 * and the sum of magnitudes, which bounds the rounding error.
 */
function evaluate(d: Float64Array, z: Float64Array, pole: number, t: number, i: number) {
  const n = d.length;
  let below = 0;
  let slopeBelow = 0;
  for (let j = 0; j <= i; j++) {
    const q = z[j] / ((d[j] - pole - t) * (d[j] + pole + t));
    below += z[j] * q;
    slopeBelow += q * q;
  }
  let above = 0;
  let slopeAbove = 0;
  for (let j = i + 1; j < n; j++) {
    const q = z[j] / ((d[j] - pole - t) * (d[j] + pole + t));
    above += z[j] * q;
    slopeAbove += q * q;
  }
  return { value: 1 + below + above, magnitude: 1 - below + above, slopeBelow, slopeAbove };
}

/**
 * The "fixed weight" free middle way of R.-C. Li (LAPACK working note 89): in x = s^2, interpolate the sum over the
 * lower poles by a + b / (d_i^2 - x) and that over the upper ones by c + e / (d_{i+1}^2 - x), matching values and slopes;
 * a bracket guards every step.
 */
function findZero(
  d: Float64Array,
  z: Float64Array,
  i: number,
  pole: number,
  from: number,
  to: number,
  gap: number,
): number {
  const n = d.length;
  const last = i + 1 === n;
  let low = from;
  let high = to;
  let t = low + (high - low) / 2;
  for (let step = 0; step < 100; step++) {
    const f = evaluate(d, z, pole, t, i);
    if (Math.abs(f.value) <= Number.EPSILON * n * 0.25 * f.magnitude + Number.EPSILON * f.magnitude) return t;
    if (f.value < 0) low = t;
    else high = t;
    if (high - low <= 2 * Number.EPSILON * Math.max(Math.abs(low), Math.abs(high))) return t;
    // Distances of the squares to the two neighbouring poles.
    const near = (d[i] - pole - t) * (d[i] + pole + t);
    const far = last ? near - gap : (d[i + 1] - pole - t) * (d[i + 1] + pole + t);
    const dx = last ? lastStep(f.value, f.slopeBelow, near) : middleStep(f, near, far);
    const s = pole + t;
    // From a step in s^2 to one in s.
    let next = t + dx / (s + Math.sqrt(Math.max(s * s + dx, 0)));
    if (!(next > low && next < high)) next = low + (high - low) / 2;
    if (next === t) return t;
    t = next;
  }
  invariant(false, 'the secular equation does not converge');
}

/** With one pole: f ~ c + slope near^2 / (near - dx), zero at the returned dx. */
function lastStep(value: number, slope: number, near: number): number {
  const c = value - slope * near;
  return near + (slope * near * near) / c;
}

/** The zero dx of c + slopeBelow near^2 / (near - dx) + slopeAbove far^2 / (far - dx). */
function middleStep(f: ReturnType<typeof evaluate>, near: number, far: number): number {
  const c = f.value - near * f.slopeBelow - far * f.slopeAbove;
  const a = (near + far) * f.value - near * far * (f.slopeBelow + f.slopeAbove);
  const b = near * far * f.value;
  const root = Math.sqrt(Math.max(a * a - 4 * b * c, 0));
  return a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root);
}
