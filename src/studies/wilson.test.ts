import fc from 'fast-check';
import { expect, test } from 'vitest';
import { wilsonInterval } from './wilson.ts';

test('its ends are where the score test has |z| = 1.96', () => {
  const trials = fc
    .integer({ min: 1, max: 5000 })
    .chain((n) => fc.tuple(fc.integer({ min: 0, max: n }), fc.constant(n)));
  fc.assert(
    fc.property(trials, ([hits, total]) => {
      for (const p of wilsonInterval(hits, total)) {
        if (p === 0 || p === 1) continue;
        const z = (hits / total - p) / Math.sqrt((p * (1 - p)) / total);
        expect(Math.abs(z)).toBeCloseTo(1.959964, 4);
      }
    }),
  );
});

test('it is not empty at 0 and at all, and lies within [0, 1]', () => {
  // 0 of n: z² / (n + z²).
  expect(wilsonInterval(0, 40)).toEqual([0, expect.closeTo(0.08762, 4)]);
  expect(wilsonInterval(40, 40)).toEqual([expect.closeTo(1 - 0.08762, 4), 1]);
});
