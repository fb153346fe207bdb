import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  cholesky,
  eigh,
  lu,
  type Matrix,
  matrix,
  multiply,
  qr,
  type Real,
  random,
  shortVectors,
  solve,
  svd,
  transpose,
} from './index.ts';

type Maker = (length: number) => Real;
const kinds: [string, Maker, number][] = [
  ['float32', (n) => new Float32Array(n), 1e-5],
  ['float64', (n) => new Float64Array(n), 1e-12],
];

function norm(x: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < x.length; i++) largest = Math.max(largest, Math.abs(x[i]));
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += largest === 0 ? 0 : (x[i] / largest) ** 2;
  return largest * Math.sqrt(sum);
}

/** ‖a - b‖ / ‖b‖ (Frobenius), in float64; the absolute norm where b is zero. */
function distance(a: Matrix, b: Matrix): number {
  expect([a.rows, a.cols]).toEqual([b.rows, b.cols]);
  const difference = Float64Array.from(a.data, (x, i) => x - b.data[i]);
  return norm(difference) / (norm(b.data) || 1);
}

const wide = (a: Matrix): Matrix<Float64Array> => ({ ...a, data: Float64Array.from(a.data) });
const product = (a: Matrix, b: Matrix, options = {}) => multiply(wide(a), wide(b), options);

/** ‖Q^T Q - I‖ / sqrt(columns). */
function skew(q: Matrix): number {
  const gram = product(q, q, { transposeA: true });
  for (let i = 0; i < q.cols; i++) gram.data[i * q.cols + i] -= 1;
  return norm(gram.data) / Math.sqrt(q.cols);
}

function scaleColumns(a: Matrix, s: ArrayLike<number>): Matrix {
  return { ...wide(a), data: Float64Array.from(a.data, (x, i) => x * s[i % a.cols]) };
}

function gaussian(make: Maker, m: number, n: number, counter = 0): Matrix {
  const data = make(m * n);
  random(11, 'test').fillNormal(data, counter);
  return matrix(m, n, data);
}

const shapes: [string, (make: Maker) => Matrix][] = [
  ['1x1', (f) => gaussian(f, 1, 1)],
  ['row', (f) => gaussian(f, 1, 9)],
  ['column', (f) => gaussian(f, 9, 1)],
  ['square', (f) => gaussian(f, 101, 101)],
  ['tall', (f) => gaussian(f, 150, 67)],
  ['wide', (f) => gaussian(f, 67, 150)],
  ['rank 5', (f) => multiply(gaussian(f, 90, 5), gaussian(f, 5, 80, 1))],
  ['zero', (f) => matrix(70, 60, f(70 * 60))],
  ['ones', (f) => matrix(70, 70, f(70 * 70).fill(1) as Real)],
  ['identity', (f) => matrix(65, 65, f(65 * 65).map((_, i) => (i % 66 === 0 ? 1 : 0)) as Real)],
  ['orthogonal', (f) => qr(gaussian(f, 100, 100)).q],
  ['sign', (f) => matrix(96, 96, gaussian(f, 96, 96).data.map(Math.sign) as Real)],
  ['Hadamard', (f) => matrix(64, 64, f(64 * 64).map((_, i) => hadamard(i >> 6, i & 63)) as Real)],
  [
    'graded',
    (f) => matrix(80, 80, gaussian(f, 80, 80).data.map((x, i) => x * 10 ** (-(i % 80) / 8)) as Real),
  ],
  [
    'repeated columns',
    (f) => matrix(80, 80, f(6400).map((_, i) => Math.fround(Math.sin(Math.floor(i / 80) * (i % 3)))) as Real),
  ],
  ['huge', (f) => matrix(40, 50, gaussian(f, 40, 50).data.map((x) => x * 1e30) as Real)],
  ['tiny', (f) => matrix(40, 50, gaussian(f, 40, 50).data.map((x) => x * 1e-30) as Real)],
];

function hadamard(i: number, j: number): number {
  let ones = 0;
  for (let bits = i & j; bits; bits >>= 1) ones += bits & 1;
  return ones & 1 ? -1 : 1;
}

describe.each(kinds)('%s', (_, make, tolerance) => {
  describe.each(shapes)('%s', (_, build) => {
    const a = build(make);
    const k = Math.min(a.rows, a.cols);

    it('is q r with orthonormal q and upper triangular r', () => {
      const { q, r } = qr(a);
      expect(distance(product(q, r), a)).toBeLessThan(tolerance);
      expect(skew(q)).toBeLessThan(tolerance);
      for (let i = 0; i < k; i++) {
        expect(r.data[i * a.cols + i]).toBeGreaterThanOrEqual(0);
        for (let j = 0; j < i; j++) expect(r.data[i * a.cols + j]).toBe(0);
      }
    });

    it('is u diag(s) vt with orthonormal factors and descending s', () => {
      const { u, s, vt } = svd(a);
      expect(u.data.constructor).toBe(a.data.constructor);
      expect(distance(product(scaleColumns(u, s), vt), a)).toBeLessThan(tolerance);
      expect(skew(u)).toBeLessThan(tolerance);
      expect(skew(transpose(vt))).toBeLessThan(tolerance);
      for (let i = 0; i < k; i++) expect(s[i]).toBeLessThanOrEqual(i === 0 ? Infinity : s[i - 1]);
      expect(s[k - 1]).toBeGreaterThanOrEqual(0);
      expect(Math.abs(norm(s) / (norm(a.data) || 1) - (norm(a.data) ? 1 : 0))).toBeLessThan(tolerance);
    });

    it('has the vectors of its shorter side alone', () => {
      const { s } = svd(a);
      const count = Math.max(1, s.findLastIndex((x) => x > 1e-3 * s[0]) + 1);
      const vectors = shortVectors(a, count);
      expect(skew(transpose(vectors))).toBeLessThan(tolerance);
      // Each is taken to a vector as long as its singular value.
      const taken = product(vectors, a, { transposeB: a.rows >= a.cols });
      for (let i = 0; i < count; i++) {
        const length = norm(taken.data.subarray(i * taken.cols, (i + 1) * taken.cols));
        expect(Math.abs(length - s[i])).toBeLessThan(tolerance * (s[0] || 1));
      }
    });

    it('has its rows permuted in l u', () => {
      const { l, u, permutation } = lu(a);
      const rows = Array.from(permutation, (p) => Array.from(a.data.subarray(p * a.cols, (p + 1) * a.cols)));
      const permuted = matrix(a.rows, a.cols, Float64Array.from(rows.flat()));
      expect(distance(product(l, u), permuted)).toBeLessThan(tolerance);
      expect(Math.max(...l.data.map(Math.abs))).toBeLessThanOrEqual(1);
    });

    it('has a Gram matrix with orthonormal eigenvectors', () => {
      const gram = multiply(a, a, { transposeB: true });
      if (!Number.isFinite(norm(gram.data)) || gram.data.some((x) => !Number.isFinite(x))) return;
      const { values, vectors } = eigh(gram);
      const back = product(scaleColumns(vectors, values), vectors, { transposeB: true });
      expect(distance(back, gram)).toBeLessThan(tolerance);
      expect(skew(vectors)).toBeLessThan(tolerance);
      expect(values).toEqual(values.toSorted());
    });
  });
});

const double = (n: number) => new Float64Array(n);

describe('identities', () => {
  it('give the singular values that a matrix was made with', () => {
    const n = 90;
    const made = Float64Array.from({ length: n }, (_, i) => 0.8 ** i);
    const a = product(scaleColumns(qr(gaussian(double, 120, n)).q, made), qr(gaussian(double, n, n, 1)).q);
    const { s } = svd(a);
    for (let i = 0; i < n; i++) expect(Math.abs(s[i] - made[i])).toBeLessThan(1e-14);
  });

  it('give the eigenvalues of the second difference', () => {
    const n = 60;
    const a = matrix(n, n, double(n * n));
    for (let i = 0; i < n; i++) {
      a.data[i * n + i] = 2;
      if (i > 0) a.data[i * n + i - 1] = a.data[(i - 1) * n + i] = -1;
    }
    const { values } = eigh(a);
    for (const [i, value] of values.entries())
      expect(value).toBeCloseTo(2 - 2 * Math.cos(((i + 1) * Math.PI) / (n + 1)), 13);
  });

  it('hold for matrices of any shape and of small integers, where ties and zeros abound', () => {
    const any = fc
      .tuple(fc.integer({ min: 1, max: 45 }), fc.integer({ min: 1, max: 45 }))
      .chain(([m, n]) =>
        fc
          .array(fc.integer({ min: -1, max: 1 }), { minLength: m * n, maxLength: m * n })
          .map((x) => matrix(m, n, Float64Array.from(x))),
      );
    fc.assert(
      fc.property(any, (a) => {
        const { u, s, vt } = svd(a);
        expect(distance(product(scaleColumns(u, s), vt), a)).toBeLessThan(1e-12);
        expect(Math.max(skew(u), skew(transpose(vt)))).toBeLessThan(1e-12);
      }),
      { numRuns: 60 },
    );
  });

  it('fix the signs: the element of largest magnitude of every left vector is positive', () => {
    const { u } = svd(gaussian(double, 30, 20));
    for (let j = 0; j < 20; j++) {
      const column = Array.from({ length: 30 }, (_, i) => u.data[i * 20 + j]);
      expect(Math.max(...column)).toBe(Math.max(...column.map(Math.abs)));
    }
  });

  it('solve linear systems, by LU and by Cholesky', () => {
    const a = gaussian(double, 40, 40);
    const x = gaussian(double, 40, 3, 1);
    expect(distance(solve(a, product(a, x)), x)).toBeLessThan(1e-10);
    const gram = product(a, a, { transposeB: true });
    const l = cholesky(gram);
    expect(distance(product(l, l, { transposeB: true }), gram)).toBeLessThan(1e-14);
  });

  it.each([
    [120, 50],
    [50, 120],
    [97, 97],
  ])('give the vectors of the shorter side alone, signs too: %i x %i', (rows, columns) => {
    for (const [, make, tolerance] of kinds) {
      const a = gaussian(make, rows, columns);
      const { u, vt } = svd(a);
      const all = rows >= columns ? vt : transpose(u);
      // The smallest singular value of a square matrix is so small that its vector is known to half of the digits.
      for (const count of [1, 33, Math.floor(0.9 * all.rows)]) {
        const vectors = shortVectors(a, count);
        expect(
          distance(vectors, { ...all, rows: count, data: all.data.slice(0, count * all.cols) }),
        ).toBeLessThan(tolerance);
        expect(shortVectors(transpose(a), count, { flipped: true })).toEqual(vectors);
      }
    }
  });

  it('are the same bits on every run', () => {
    const a = gaussian(double, 70, 50);
    expect(svd(a)).toEqual(svd(a));
  });
});

describe('errors', () => {
  const bad = matrix(2, 3, Float32Array.from([1, 2, 3, 4, Number.NaN, 6]));
  it.each([
    ['qr', qr],
    ['lu', lu],
    ['svd', svd],
  ] as const)('%s names the element that is not finite', (_, f) => {
    expect(() => f(bad)).toThrow(/2x3.*NaN at row 1, column 1/);
    expect(() => f(bad)).toThrow(expect.objectContaining({ code: 'linalg/not-finite' }));
  });

  it('come with their codes', () => {
    const square = matrix(2, 2, Float64Array.from([1, 2, 2, 4]));
    expect(() => matrix(2, 2, double(3))).toThrow(expect.objectContaining({ code: 'linalg/shape' }));
    expect(() => multiply(square, matrix(3, 1, double(3)))).toThrow(
      expect.objectContaining({ code: 'linalg/shape' }),
    );
    expect(() => solve(square, square)).toThrow(expect.objectContaining({ code: 'linalg/singular' }));
    expect(() => cholesky(matrix(1, 1, Float64Array.of(-1)))).toThrow(
      expect.objectContaining({ code: 'linalg/not-positive-definite' }),
    );
    expect(() => eigh(bad)).toThrow(expect.objectContaining({ code: 'linalg/shape' }));
  });
});
