import { expect, it } from 'vitest';
import { sumOfSquares } from './index.ts';

const wave = (n: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 1.7) * 3);

it.each([0, 1, 7, 8, 9, 16_384, 16_385, 50_003])('sums the squares of %i numbers in float64', (n) => {
  const data = wave(n);
  const expected = data.reduce((sum, x) => sum + x * x, 0);
  expect(Math.abs(sumOfSquares(data) - expected)).toBeLessThanOrEqual(1e-12 * expected);
});

it('does not overflow where float32 would, and is not finite where a number is not', () => {
  expect(sumOfSquares(new Float32Array([1e30, 0])) / 1e60).toBeCloseTo(1, 6);
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const data = wave(40_000);
    data[39_999] = bad;
    expect(Number.isFinite(sumOfSquares(data))).toBe(false);
  }
  expect(sumOfSquares(wave(5))).toBeGreaterThan(0);
});
