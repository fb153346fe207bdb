import { expect, test } from 'vitest';
import { curve, rangeOf } from './curve.ts';
import { history } from './history.ts';

test('a falling line goes from the top left dot to the bottom right one', () => {
  const points = [0, 1, 2, 3].map((step) => ({ step, value: 3 - step }));
  expect(curve(points, { width: 2, height: 1, steps: [0, 3], values: [0, 3] })).toEqual(['⠑⢄']);
});

test('NaN leaves a gap, one point is a dot, equal values a line in the middle', () => {
  const gap = [
    { step: 0, value: 0 },
    { step: 1, value: Number.NaN },
    { step: 7, value: 0 },
  ];
  expect(curve(gap, { width: 4, height: 1, steps: [0, 7], values: [0, 1] })).toEqual(['⡀⠀⠀⢀']);
  const flat = gap.map(({ step }) => ({ step, value: 5 }));
  expect(curve(flat, { width: 4, height: 1, steps: [0, 7], values: [5, 5] })).toEqual(['⠤⠤⠤⠤']);
});

test('the range leaves NaN and infinity out', () => {
  const points = [3, Number.NaN, -1, Infinity].map((value, step) => ({ step, value }));
  expect(rangeOf(points)).toEqual([-1, 3]);
  expect(rangeOf(points.slice(1, 2))).toBeUndefined();
});

test('a history of any length stays small, keeps its mean and ends at the last step', () => {
  const kept = history();
  for (let step = 1; step <= 100_000; step++) kept.push({ step, value: step });
  const points = kept.points();
  expect(points.length).toBeLessThanOrEqual(513);
  expect(points.length).toBeGreaterThan(256);
  expect(points[points.length - 1].step).toBe(100_000);
  const width = points[1].step - points[0].step;
  for (const [i, { step, value }] of points.slice(0, -1).entries()) {
    expect(step).toBe((i + 1) * width);
    expect(value).toBe(step - (width - 1) / 2);
  }
});
