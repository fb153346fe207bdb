import type { Comparison } from './results.ts';

/**
 * Whether one of several methods may be the best: no other is better than it with a p below the level divided by the
 * number of its rivals (Hsu, Annals of Statistics 12, 1984, multiple comparisons with the best, with Bonferroni's bound
 * instead of equal variances). The truly best has that many rivals and no more, so that the set holds it with
 * probability 1 − level at least: correcting for all pairs would ask more than this question does. The p are
 * two-sided, so that of two equal methods one is left alone no more often than the level says.
 *
 * @param comparisons of every pair among the methods
 * @param direction of the metric
 */
export function mayBeBest(
  method: string,
  comparisons: readonly Comparison[],
  direction: 'min' | 'max',
  level: number,
): boolean {
  const own = comparisons.filter(({ a, b }) => a === method || b === method);
  const sign = direction === 'max' ? 1 : -1;
  return !own.some(({ a, difference, p }) => {
    const behind = sign * (a === method ? difference : -difference) < 0;
    return behind && p < level / own.length;
  });
}
