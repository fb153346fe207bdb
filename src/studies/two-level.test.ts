import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { random } from '../linalg/index.ts';
import { bootstrapMeans, holm, percentileInterval, type Sample } from './statistics.ts';
import { studentP, studentQuantile95 } from './student-t.ts';
import { interval95, paired, pOfZero, twoLevel } from './two-level.ts';

interface Case extends Sample {
  readonly mean: number;
  readonly error: number;
  readonly freedom: number;
  readonly interval: readonly [number, number];
  readonly p: number;
  readonly bootstrap: readonly [number, number];
}

const golden: {
  student: { t: number; freedom: number; p: number; quantile: number }[];
  cases: Case[];
} = JSON.parse(readFileSync(new URL('../../tests/golden/studies/statistics.json', import.meta.url), 'utf8'));

test.each(golden.student)("Student's t as scipy has it: t $t, $freedom degrees", (row) => {
  expect(studentP(row.t, row.freedom) / row.p).toBeCloseTo(1, 9);
  expect(studentQuantile95(row.freedom)).toBeCloseTo(row.quantile, 9);
});

describe.each(golden.cases)('a sample of %#', (sample) => {
  test('has the mean, error, freedom, interval and p that numpy and scipy find', () => {
    const own = twoLevel(sample);
    expect(own.mean).toBeCloseTo(sample.mean, 12);
    expect(own.error).toBeCloseTo(sample.error, 12);
    expect(own.freedom).toBeCloseTo(sample.freedom, 9);
    expect(pOfZero(own) / sample.p).toBeCloseTo(1, 8);
    interval95(own).forEach((x, i) => {
      expect(x).toBeCloseTo(sample.interval[i], 9);
    });
  });

  test('is resampled to the interval that numpy resamples', () => {
    const [low, high] = percentileInterval(bootstrapMeans([sample], 8000, 1)[0]);
    // Of 8,000 draws the quantiles lie within a few hundredths of the interval's width.
    const near = 0.05 * (sample.bootstrap[1] - sample.bootstrap[0]);
    expect(Math.abs(low - sample.bootstrap[0])).toBeLessThan(near);
    expect(Math.abs(high - sample.bootstrap[1])).toBeLessThan(near);
  });
});

test('equal samples differ by nothing, certainly', () => {
  const difference = twoLevel(paired(golden.cases[0], golden.cases[0]));
  expect(difference).toMatchObject({ mean: 0, error: 0 });
  expect(pOfZero(difference)).toBe(1);
  expect(interval95(difference)).toEqual([0, 0]);
});

test('with three seeds and no difference about one comparison in twenty is significant', () => {
  let found = 0;
  const trials = 2000;
  for (let t = 0; t < trials; t++) {
    const noise = new Float64Array(6);
    random(t, 'test/null').fillNormal(noise);
    const level = (from: number): Sample => ({
      seeds: [0, 1, 2].map((k) => [1, 2, 3, 4].map((x) => x + noise[from + k])),
    });
    if (pOfZero(twoLevel(paired(level(0), level(3)))) < 0.05) found++;
  }
  expect(found / trials).toBeGreaterThan(0.03);
  expect(found / trials).toBeLessThan(0.07);
});

test("Holm's correction: the smallest p times all, none below the one before it", () => {
  expect(holm([0.01, 0.04, 0.03, 0.005])).toEqual([0.03, 0.06, 0.06, 0.02]);
  expect(holm([0.9, 0.8])).toEqual([1, 1]);
});
