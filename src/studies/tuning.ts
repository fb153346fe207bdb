import { random } from '../linalg/index.ts';
import type { Settings } from './methods.ts';
import type { Study } from './study.ts';

/**
 * The settings that every method may try: the same draws for all, from the study's space alone. Learning rates are
 * drawn log-uniformly.
 */
export function trialSettings({ tuning, name }: Study): Settings[] {
  if (!tuning) return [];
  const space = { ...(tuning.rate ? { rate: tuning.rate } : {}), ...tuning.space };
  const fields = Object.entries(space);
  return Array.from({ length: tuning.trials }, (_, trial) =>
    Object.fromEntries(
      fields.map(([path, range]) => [path, drawn(range, stratified(name, path, trial, tuning.trials))]),
    ),
  );
}

/**
 * A number in [0, 1), one from each of as many equal parts as there are trials, in an order of its own for each field
 * (Latin hypercube: McKay and others, Technometrics 21, 1979): few trials still cover the range.
 */
function stratified(study: string, path: string, trial: number, trials: number): number {
  const source = random(0, `studies/${study}/tuning/${path}`);
  const uniform = new Float64Array(2 * trials);
  source.fillUniform(uniform);
  const order = Array.from({ length: trials }, (_, i) => i).sort((a, b) => uniform[a] - uniform[b]);
  return (order[trial] + uniform[trials + trial]) / trials;
}

type Range = readonly [number, number] | { readonly choices: readonly unknown[] };

function drawn(range: Range, u: number): unknown {
  if ('choices' in range) return range.choices[Math.floor(u * range.choices.length)];
  const [low, high] = range;
  if (Number.isInteger(low) && Number.isInteger(high)) return low + Math.floor(u * (high - low + 1));
  const value = low > 0 ? low * (high / low) ** u : low + u * (high - low);
  return Number(value.toPrecision(3));
}

/** How a search spends: each rung keeps so many trials for that share of the run's updates. */
export function rungs({ tuning }: Study): { readonly keep: number; readonly share: number }[] {
  if (!tuning) return [];
  const { trials } = tuning;
  if (tuning.search === 'random') return [{ keep: trials, share: 1 }];
  const half = Math.ceil(trials / 2);
  return [
    { keep: trials, share: 0.25 },
    { keep: half, share: 0.5 },
    { keep: Math.ceil(half / 2), share: 1 },
  ];
}
