import { describe, expect, it } from 'vitest';
import { type Matrix, matrix, multiply, qr, random, svd, truncatedSvd } from './index.ts';

function gaussian(m: number, n: number, counter: number): Matrix<Float64Array> {
  const data = new Float64Array(m * n);
  random(5, 'truncated test').fillNormal(data, counter);
  return matrix(m, n, data);
}

/** A matrix with the given singular values. */
function withValues(m: number, n: number, values: Float64Array): Matrix<Float64Array> {
  const k = values.length;
  const left = qr(gaussian(m, k, 0)).q;
  const scaled = { ...left, data: left.data.map((x, i) => x * values[i % k]) };
  return multiply(scaled, qr(gaussian(n, k, 1)).q, { transposeB: true });
}

function norm(x: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
  return Math.sqrt(sum);
}

function skew(rows: Matrix): number {
  const wide = { ...rows, data: Float64Array.from(rows.data) };
  const gram = multiply(wide, wide, { transposeB: true });
  for (let i = 0; i < rows.rows; i++) gram.data[i * rows.rows + i] -= 1;
  return norm(gram.data);
}

const spectra: [string, (i: number) => number][] = [
  ['geometric', (i) => 0.95 ** i],
  ['harmonic', (i) => 1 / (i + 1)],
];

describe.each(spectra)('the truncated SVD of a %s spectrum', (_, value) => {
  it.each([
    [300, 400, Float32Array, 1e-5],
    [400, 300, Float64Array, 1e-12],
  ] as const)('is within a thousandth and orthonormal (%dx%d, %o)', (m, n, type, tolerance) => {
    const made = Float64Array.from({ length: 300 }, (_, i) => value(i));
    const a = matrix(m, n, type.from(withValues(m, n, made).data));
    const { u, s, vt } = truncatedSvd<Float32Array | Float64Array>(a, 32);
    expect([u.rows, u.cols, s.length, vt.rows, vt.cols]).toEqual([m, 32, 32, 32, n]);
    for (let i = 0; i < 32; i++) expect(Math.abs(s[i] / made[i] - 1)).toBeLessThan(1e-3);
    expect(skew(vt)).toBeLessThan(tolerance);
    const ut = matrix(
      32,
      m,
      Float64Array.from({ length: 32 * m }, (_, i) => u.data[(i % m) * 32 + Math.floor(i / m)]),
    );
    expect(skew(ut)).toBeLessThan(tolerance);
  });
});

describe('truncatedSvd', () => {
  it('finds a matrix of low rank whole, and zeros beyond', () => {
    const values = Float64Array.of(4, 3, 2, 1);
    const a = withValues(250, 260, values);
    const { u, s, vt } = truncatedSvd(a, 10);
    for (let i = 0; i < 10; i++) expect(Math.abs(s[i] - (values[i] ?? 0))).toBeLessThan(1e-12);
    const back = multiply({ ...u, data: u.data.map((x, i) => x * s[i % 10]) }, vt);
    expect(norm(back.data.map((x, i) => x - a.data[i])) / norm(a.data)).toBeLessThan(1e-12);
    expect(skew(vt)).toBeLessThan(1e-12);
  });

  it.each([
    ['float32', Float32Array, 1e-5, 1],
    ['float32 of magnitudes whose squares underflow', Float32Array, 1e-5, 2 ** -110],
    ['float64 of magnitudes whose squares overflow', Float64Array, 1e-12, 2 ** 900],
  ] as const)('stays orthonormal where the rank is exhausted, in %s', (_, type, tolerance, scale) => {
    const values = Float64Array.of(4, 3, 2, 1);
    const made = withValues(250, 260, values).data.map((x) => x * scale);
    const { s, vt } = truncatedSvd<Float32Array | Float64Array>(matrix(250, 260, type.from(made)), 10);
    for (let i = 0; i < 10; i++)
      expect(Math.abs(s[i] / scale - (values[i] ?? 0))).toBeLessThan(4 * tolerance);
    expect(skew(vt)).toBeLessThan(tolerance);
  });

  it('is exact where the matrix is small', () => {
    const a = gaussian(20, 30, 2);
    const { s } = truncatedSvd(a, 7);
    expect(s).toEqual(svd(a).s.slice(0, 7));
  });

  it('refuses what cannot be', () => {
    const a = gaussian(4, 5, 3);
    expect(() => truncatedSvd(a, 5)).toThrow(expect.objectContaining({ code: 'linalg/rank' }));
    expect(() => truncatedSvd(a, 2, { oversample: -1 })).toThrow(
      expect.objectContaining({ code: 'linalg/range' }),
    );
    const bad = matrix(2, 2, Float64Array.of(1, Infinity, 0, 0));
    expect(() => truncatedSvd(bad, 1)).toThrow(expect.objectContaining({ code: 'linalg/not-finite' }));
  });
});
