import type { Interval } from './results.ts';
import { mean, type Sample, sampleMean } from './statistics.ts';
import { studentP, studentQuantile95 } from './student-t.ts';

/** A mean over seeds and examples, and how well it is known. */
export interface TwoLevel {
  readonly mean: number;
  readonly error: number;
  /** Degrees of freedom: near seeds − 1 where seeds differ most, near examples − 1 where examples do. */
  readonly freedom: number;
}

/**
 * Mean of a sample with its standard error, where both its seeds and its examples are drawn from many. The two parts of
 * the variance are those that the bootstrap over seeds and examples tends to, without its factor (n − 1)/n; the degrees
 * of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946).
 *
 * It tests differences, where the percentile bootstrap does not do: with three seeds that agree in sign by chance, one
 * time in four, no resampling crosses 0, and no number of draws gives a p small enough for hundreds of pairs.
 *
 * @param sample two seeds at least
 */
export function twoLevel(sample: Sample): TwoLevel {
  const { seeds, weights } = sample;
  const total = sampleMean(sample);
  const own = seeds.map((scores) => sampleMean({ seeds: [scores], weights }));
  const bySeeds = squares(own, mean(own)) / (own.length - 1) / own.length;
  const examples = seeds[0].length;
  const share = mean(weights ?? [1]);
  // Influence of an example on the weighted mean, averaged over seeds.
  const pulls = Array.from(
    { length: examples },
    (_, i) => ((weights?.[i] ?? 1) / share) * (mean(seeds.map((s) => s[i])) - total),
  );
  const byExamples = examples > 1 ? squares(pulls, 0) / (examples - 1) / examples : 0;
  const variance = bySeeds + byExamples;
  const freedom =
    variance === 0
      ? seeds.length - 1
      : variance ** 2 / (bySeeds ** 2 / (seeds.length - 1) + byExamples ** 2 / Math.max(1, examples - 1));
  return { mean: total, error: Math.sqrt(variance), freedom };
}

/** The difference a − b, example by example and seed by seed: both have the same of each. */
export function paired(a: Sample, b: Sample): Sample {
  return { seeds: a.seeds.map((s, k) => s.map((x, i) => x - b.seeds[k][i])), weights: a.weights };
}

export function interval95({ mean: middle, error, freedom }: TwoLevel): Interval {
  const half = error === 0 ? 0 : studentQuantile95(freedom) * error;
  return [middle - half, middle + half];
}

/** Two-sided p of the mean being 0. */
export function pOfZero({ mean: middle, error, freedom }: TwoLevel): number {
  if (error > 0) return studentP(middle / error, freedom);
  return middle === 0 ? 1 : 0;
}

function squares(values: readonly number[], around: number): number {
  return values.reduce((sum, x) => sum + (x - around) ** 2, 0);
}
