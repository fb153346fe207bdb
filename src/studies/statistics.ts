import { random } from '../linalg/index.ts';
import type { Interval } from './results.ts';

/** Scores of one treatment: for each seed one number an example, in the order of the test data. */
export interface Sample {
  readonly seeds: readonly (readonly number[])[];
  /** Weight of each example in a mean; absent: all equal. */
  readonly weights?: readonly number[];
}

export function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

/** Standard deviation with n − 1. */
export function deviation(values: readonly number[]): number {
  const m = mean(values);
  return Math.sqrt(values.reduce((sum, x) => sum + (x - m) ** 2, 0) / (values.length - 1));
}

/** Mean over seeds and examples. */
export function sampleMean({ seeds, weights }: Sample): number {
  return mean(seeds.map((scores) => weightedMean(scores, weights)));
}

/** Mean of one seed's scores. */
export function weightedMean(scores: readonly number[], weights?: readonly number[]): number {
  if (!weights) return mean(scores);
  const total = weights.reduce((a, b) => a + b, 0);
  return scores.reduce((sum, x, i) => sum + x * weights[i], 0) / total;
}

/**
 * Means of all samples under the same resamplings, so that their differences are paired: in each, seeds are drawn with
 * replacement and, within them, the same examples for every seed and sample (Davison and Hinkley, Bootstrap Methods,
 * 1997, section 3.8: resampling at both levels). All samples have the same examples.
 *
 * @returns for each sample `draws` means
 */
export function bootstrapMeans(samples: readonly Sample[], draws: number, seed: number): Float64Array[] {
  const examples = samples[0]?.seeds[0]?.length ?? 0;
  const most = Math.max(1, ...samples.map((s) => s.seeds.length));
  const results = samples.map(() => new Float64Array(draws));
  const counts = new Float64Array(examples);
  const uniform = new Float64Array(examples + most);
  const flat = samples.map((s) => s.seeds.map((scores) => Float64Array.from(scores)));
  for (let d = 0; d < draws; d++) {
    counts.fill(0);
    random(seed, `studies/bootstrap/${d}`).fillUniform(uniform);
    for (let i = 0; i < examples; i++) counts[Math.floor(uniform[i] * examples)]++;
    samples.forEach(({ weights }, s) => {
      const list = flat[s];
      let sum = 0;
      for (let k = 0; k < list.length; k++)
        sum += drawn(list[Math.floor(uniform[examples + k] * list.length)], counts, weights);
      results[s][d] = sum / list.length;
    });
  }
  return results;
}

function drawn(scores: Float64Array, counts: Float64Array, weights?: readonly number[]): number {
  let [sum, total] = [0, 0];
  for (let i = 0; i < scores.length; i++) {
    const w = weights ? counts[i] * weights[i] : counts[i];
    sum += w * scores[i];
    total += w;
  }
  return sum / total;
}

/** 95 % percentile interval of resampled values, interpolated linearly between order statistics. */
export function percentileInterval(values: Float64Array): Interval {
  const sorted = values.slice().sort();
  return [quantile(sorted, 0.025), quantile(sorted, 0.975)];
}

function quantile(sorted: Float64Array, q: number): number {
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

/** Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979): p values in the order given. */
export function holm(p: readonly number[]): number[] {
  const order = p.map((_, i) => i).sort((a, b) => p[a] - p[b]);
  const corrected = new Array<number>(p.length);
  let largest = 0;
  order.forEach((index, rank) => {
    largest = Math.max(largest, Math.min(1, (p.length - rank) * p[index]));
    corrected[index] = largest;
  });
  return corrected;
}
