import { describe, expect, it } from 'vitest';
import type { NDArray } from '../graph/index.ts';
import { multiply, random, svd } from '../linalg/index.ts';
import { maxDifference, normal } from './form-checks.contract.ts';
import { refactorize } from './refactorize.ts';

const [M, N, R] = [14, 20, 5];

const wide = ({ shape: [rows, cols], data }: NDArray) => ({
  rows,
  cols,
  data: Float64Array.from(data as Float32Array),
});

function product(B: NDArray, A: NDArray): NDArray {
  const { rows, cols, data } = multiply(wide(B), wide(A));
  return { dtype: 'float64', shape: [rows, cols], data };
}

const copy = (a: NDArray): NDArray => ({ ...a, data: a.data.slice() });

/** Factors of very different sizes. */
const factors = (seed = 1) => ({ B: normal([M, R], seed, 30), A: normal([R, N], seed + 1, 0.02) });

function largest(a: NDArray): number {
  return (a.data as Float64Array).reduce((most, v) => Math.max(most, Math.abs(v)), 0);
}

/** BᵀB or A Aᵀ. */
function gram({ shape: [rows, cols], data }: NDArray, ofColumns: boolean): number[][] {
  const at = (i: number, k: number) => Number(ofColumns ? data[k * cols + i] : data[i * cols + k]);
  const [size, length] = ofColumns ? [cols, rows] : [rows, cols];
  return Array.from({ length: size }, (_, i) =>
    Array.from({ length: size }, (_, j) => {
      let total = 0;
      for (let k = 0; k < length; k++) total += at(i, k) * at(j, k);
      return total;
    }),
  );
}

const draws = () => random(1, 'refactor');

describe('refactorization', () => {
  it('keeps the product to 1e-5 and balances the factors: BᵀB = A Aᵀ = Σ, descending', () => {
    const { B, A } = factors();
    const before = product(B, A);
    expect(refactorize(B, A, draws())).toBe(R);
    expect(maxDifference(product(B, A), before) / largest(before)).toBeLessThan(1e-5);
    const { s } = svd(wide(before));
    for (const g of [gram(B, true), gram(A, false)])
      for (let i = 0; i < R; i++)
        for (let j = 0; j < R; j++) expect(g[i][j] / s[0]).toBeCloseTo(i === j ? s[i] / s[0] : 0, 5);
  });

  it('gives what the SVD of the whole product gives, up to signs', () => {
    const { B, A } = factors();
    const { u, s, vt } = svd(wide(product(B, A)));
    refactorize(B, A, draws());
    for (let k = 0; k < R; k++) {
      const root = Math.sqrt(s[k]);
      const sign = Math.sign(Number(B.data[k]) * u.data[k]);
      for (let i = 0; i < M; i++)
        expect(Number(B.data[i * R + k])).toBeCloseTo(sign * root * u.data[i * u.cols + k], 4);
      for (let j = 0; j < N; j++)
        expect(Number(A.data[k * N + j])).toBeCloseTo(sign * root * vt.data[k * N + j], 4);
    }
  });

  it('changes nothing but signs the second time', () => {
    const { B, A } = factors();
    refactorize(B, A, draws());
    const before = [copy(B), copy(A)];
    refactorize(B, A, draws());
    for (const [i, a] of [B, A].entries())
      a.data.forEach((v: number | bigint, k: number) => {
        expect(Math.abs(Number(v))).toBeCloseTo(Math.abs(Number(before[i].data[k])), 4);
      });
  });

  it('balances gradients: Bᵀ∂B = ∂A Aᵀ, and each direction learns in proportion to √σ', () => {
    const { B, A } = factors();
    const { u, s, vt } = svd(wide(product(B, A)));
    const G = normal([M, N], 9);
    const transposed = (a: ReturnType<typeof wide>) => ({
      rows: a.cols,
      cols: a.rows,
      data: Float64Array.from(
        { length: a.data.length },
        (_, i) => a.data[(i % a.rows) * a.cols + Math.floor(i / a.rows)],
      ),
    });
    refactorize(B, A, draws());
    const dB = multiply(wide(G), transposed(wide(A)));
    const dA = multiply(transposed(wide(B)), wide(G));
    const [left, right] = [multiply(transposed(wide(B)), dB), multiply(dA, transposed(wide(A)))];
    left.data.forEach((v, i) => {
      expect(v).toBeCloseTo(right.data[i], 3);
    });
    for (let k = 0; k < R; k++) {
      const norm = (values: number[]) => Math.hypot(...values);
      const column = Array.from({ length: M }, (_, i) => dB.data[i * R + k]);
      const Gv = Array.from({ length: M }, (_, i) => {
        let total = 0;
        for (let j = 0; j < N; j++) total += Number(G.data[i * N + j]) * vt.data[k * N + j];
        return total;
      });
      const GTu = Array.from({ length: N }, (_, j) => {
        let total = 0;
        for (let i = 0; i < M; i++) total += Number(G.data[i * N + j]) * u.data[i * u.cols + k];
        return total;
      });
      expect(norm(column) / norm(Gv)).toBeCloseTo(Math.sqrt(s[k]), 4);
      expect(norm([...dA.data.subarray(k * N, (k + 1) * N)]) / norm(GTu)).toBeCloseTo(Math.sqrt(s[k]), 4);
    }
  });

  it('leaves a product of zero as it is: the layer has not learned yet', () => {
    const B: NDArray = { dtype: 'float32', shape: [M, R], data: new Float32Array(M * R) };
    const A = normal([R, N], 2);
    const before = copy(A);
    expect(refactorize(B, A, draws())).toBe(0);
    expect(A).toEqual(before);
    expect(B.data.every((v) => v === 0)).toBe(true);
  });

  it('keeps directions alive that a product of lower rank leaves over', () => {
    const { B, A } = factors();
    for (let i = 0; i < M; i++) {
      B.data[i * R + 1] = 0;
      B.data[i * R + 3] = 2 * Number(B.data[i * R]);
    }
    const before = product(B, A);
    expect(refactorize(B, A, draws())).toBe(3);
    expect(maxDifference(product(B, A), before) / largest(before)).toBeLessThan(1e-5);
    for (let k = 3; k < R; k++) {
      for (let i = 0; i < M; i++) expect(B.data[i * R + k]).toBe(0);
      const row = Array.from(A.data.subarray(k * N, (k + 1) * N), Number);
      expect(Math.max(...row.map(Math.abs))).toBeGreaterThan(0.5 / Math.sqrt(N));
      expect(Math.max(...row.map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(N));
    }
  });

  it('takes square and full-rank factors', () => {
    const [B, A] = [normal([6, 6], 3), normal([6, 6], 4)];
    const before = product(B, A);
    expect(refactorize(B, A, draws())).toBe(6);
    expect(maxDifference(product(B, A), before) / largest(before)).toBeLessThan(1e-5);
  });
});
