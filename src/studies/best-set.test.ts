import { expect, test } from 'vitest';
import { random } from '../linalg/index.ts';
import { mayBeBest } from './best-set.ts';
import type { Comparison } from './results.ts';
import type { Sample } from './statistics.ts';
import { paired, pOfZero, twoLevel } from './two-level.ts';

/** Every pair among methods of given true means, each with three seeds of unit spread. */
function study(means: readonly number[], trial: number): Comparison[] {
  const noise = new Float64Array(3 * means.length);
  random(trial, 'test/best-set').fillNormal(noise);
  const samples = means.map(
    (m, i): Sample => ({ seeds: [0, 1, 2].map((k) => [0, 1, 2, 3].map((x) => x + m + noise[3 * i + k])) }),
  );
  return means.flatMap((_, i) =>
    means.slice(i + 1).map((_, after) => {
      const j = i + 1 + after;
      const difference = twoLevel(paired(samples[i], samples[j]));
      const p = pOfZero(difference);
      return {
        a: `${i}`,
        b: `${j}`,
        difference: difference.mean,
        interval: [0, 0],
        p,
        corrected: 1,
      } as const;
    }),
  );
}

const TRIALS = 1000;

function share(of: (comparisons: Comparison[]) => boolean, means: readonly number[]): number {
  return Array.from({ length: TRIALS }, (_, t) => of(study(means, t))).filter(Boolean).length / TRIALS;
}

test.each([2, 8])('among %i methods the best stays in the set, also where others equal it', (count) => {
  const equal = new Array<number>(count).fill(0);
  expect(share((c) => mayBeBest('0', c, 'min', 0.05), equal)).toBeGreaterThan(0.94);
});

test('of two equal methods one is left alone about one time in twenty', () => {
  const lone = (c: Comparison[]) => mayBeBest('0', c, 'min', 0.05) !== mayBeBest('1', c, 'min', 0.05);
  expect(share(lone, [0, 0])).toBeLessThan(0.07);
});

test('what is far behind any other is out, in the direction of the metric', () => {
  const far = study([0, 0, 60], 1);
  expect(['0', '1', '2'].map((m) => mayBeBest(m, far, 'min', 0.05))).toEqual([true, true, false]);
  expect(['0', '1', '2'].map((m) => mayBeBest(m, far, 'max', 0.05))).toEqual([false, false, true]);
});
