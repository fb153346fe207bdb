import { expect, it } from 'vitest';
import { interval } from './interval.ts';

it('is what is asked for, or usual, or a quarter of a short run', () => {
  expect(interval('X', 30, 1000, 31)).toBe(30);
  expect(interval('X', undefined, 1000, 5000)).toBe(1000);
  expect(interval('X', undefined, 1000, 250)).toBe(62);
  expect(interval('X', undefined, 1000, 2)).toBe(1);
});

it('refuses a first event beyond the run', () => {
  expect(() => interval('ReLoRA', 1000, 1000, 250)).toThrow(
    expect.objectContaining({
      code: 'adapters/schedule',
      message: expect.stringMatching(/ReLoRA.*1000 updates.*250/),
    }),
  );
});
