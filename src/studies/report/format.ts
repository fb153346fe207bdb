import { metricName } from '../naming.ts';
import type { StudyResult } from '../results.ts';
import { decimals } from './scale.ts';

export type Metric = StudyResult['metric'];

const MINUS = '−';

/** A loss as `2.134`, a share as `91.2 %`. */
export function score(value: number, { name }: Pick<Metric, 'name'>): string {
  return name === 'loss' ? fixed(value, 3) : `${fixed(100 * value, 1)} %`;
}

/** A metric with its unit, for an axis. `ofText`: of a language model, whose loss is over tokens. */
export function metricTitle(metric: Pick<Metric, 'name'>, ofText: boolean): string {
  const unit = metric.name === 'loss' ? (ofText ? ' (nats per token)' : ' (nats)') : ' (% of rows)';
  return `${metricName(metric)} on the test data${unit}`;
}

/** Scores on an axis, with the decimals that its ticks need: `5.25`, `80 %`. */
export function scoreTicks(
  ticks: readonly number[],
  { name }: Pick<Metric, 'name'>,
): (value: number) => string {
  const factor = name === 'loss' ? 1 : 100;
  const digits = decimals(ticks.map((t) => factor * t));
  return (value) => `${fixed(factor * value, digits)}${name === 'loss' ? '' : ' %'}`;
}

/** A difference of scores, with its sign: `+0.021`, `−1.3` (percentage points). */
export function difference(value: number, { name }: Pick<Metric, 'name'>): string {
  return signed(name === 'loss' ? value : 100 * value, name === 'loss' ? 3 : 1);
}

/** `91.2 to 92.0 %`, `2.101 to 2.160`. */
export function range([low, high]: readonly [number, number], metric: Pick<Metric, 'name'>): string {
  return metric.name === 'loss'
    ? `${fixed(low, 3)} to ${fixed(high, 3)}`
    : `${fixed(100 * low, 1)} to ${fixed(100 * high, 1)} %`;
}

export function signed(value: number, digits: number): string {
  const text = fixed(Math.abs(value), digits);
  return Number(text) === 0 ? text : `${value < 0 ? MINUS : '+'}${text}`;
}

function fixed(value: number, digits: number): string {
  return value.toFixed(digits).replace('-', MINUS);
}

/** `369,920`. */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en');
}

/** For axes: `370k`, `4.2M`. */
export function shortCount(value: number): string {
  return shortened(value, ['', 'k', 'M', 'B'], '');
}

/** Decimal units, three digits: `312 MB`, `1.48 MB`. */
export function bytes(value: number): string {
  return shortened(value, ['B', 'kB', 'MB', 'GB', 'TB'], ' ');
}

function shortened(value: number, units: readonly string[], space: string): string {
  const size = Math.abs(value);
  // 999.6 would be written as 1000: it belongs to the next unit.
  let unit = 0;
  while (unit < units.length - 1 && size >= 999.5 * 1000 ** unit) unit++;
  const scaled = value / 1000 ** unit;
  return `${Number(scaled.toPrecision(3))}${space}${units[unit]}`;
}

/** `0.4 s`, `94 s`, `3 min 05 s`, `2 h 07 min`. */
export function seconds(value: number): string {
  if (value < 9.95) return `${Number(value.toPrecision(2))} s`;
  const whole = Math.round(value);
  if (whole < 120) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(value / 60);
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

/** A p value: `0.013`, `< 0.001`. */
export function probability(p: number): string {
  return p < 0.001 ? '< 0.001' : p.toFixed(3);
}

/** A setting's value in a line. */
export function setting(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** `rate 0.004, adapter.alpha 32`; what all settings of adapters share in their path says nothing. */
export function settings(values: Readonly<Record<string, unknown>>): string {
  return Object.entries(values)
    .map(([path, value]) => `${path.replace(/^(adapter|optimizer)\./, '')} ${setting(value)}`)
    .join(', ');
}
