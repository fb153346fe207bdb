/** Places numbers along an axis. */
export interface Scale {
  readonly domain: readonly [number, number];
  readonly ticks: readonly number[];
  /** Coordinate of a value; values outside the domain land outside the axis. */
  at(value: number): number;
}

/** A linear axis whose ends are round numbers. `target`: about so many ticks. */
export function linearScale(low: number, high: number, span: readonly [number, number], target = 5): Scale {
  const [from, to] = high > low ? [low, high] : [low - padding(low), high + padding(high)];
  const step = roundStep((to - from) / target);
  const domain = [Math.floor(from / step + 1e-9) * step, Math.ceil(to / step - 1e-9) * step] as const;
  const steps = Math.round((domain[1] - domain[0]) / step);
  const ticks = Array.from({ length: steps + 1 }, (_, i) => Number((domain[0] + i * step).toPrecision(12)));
  return { domain, ticks, at: interpolated(domain, span, (x) => x) };
}

/** A linear axis that ends where its values do; round numbers within it are marked. */
export function tightScale(low: number, high: number, span: readonly [number, number], target = 5): Scale {
  const { ticks } = linearScale(low, high, span, target);
  const domain = high > low ? ([low, high] as const) : ([low - padding(low), high + padding(high)] as const);
  const inside = ticks.filter((tick) => tick >= domain[0] && tick <= domain[1]);
  return { domain, ticks: inside, at: interpolated(domain, span, (x) => x) };
}

/** A logarithmic axis over positive values with ticks at 1, 2 and 5 times powers of ten. */
export function logScale(low: number, high: number, span: readonly [number, number]): Scale {
  const domain = [low / 1.15, high * 1.15] as const;
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(domain[0])); power <= Math.log10(domain[1]); power++)
    for (const digit of [1, 2, 5]) {
      const tick = digit * 10 ** power;
      if (tick >= domain[0] && tick <= domain[1]) ticks.push(tick);
    }
  return { domain, ticks, at: interpolated(domain, span, Math.log) };
}

/** Decimals that tell an axis's ticks apart, and no more. */
export function decimals(ticks: readonly number[]): number {
  const fits = (digits: number) => ticks.every((t) => Math.abs(Number(t.toFixed(digits)) - t) < 1e-9);
  let digits = 0;
  while (digits < 6 && !fits(digits)) digits++;
  return digits;
}

function interpolated(
  [low, high]: readonly [number, number],
  [start, end]: readonly [number, number],
  measure: (x: number) => number,
): Scale['at'] {
  const [from, to] = [measure(low), measure(high)];
  return (value) => start + ((measure(value) - from) / (to - from)) * (end - start);
}

function padding(value: number): number {
  return value === 0 ? 1 : Math.abs(value) * 0.05;
}

/** The next of 1, 2, 2.5, 5 times a power of ten. */
function roundStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  const digit = [1, 2, 2.5, 5, 10].find((d) => d * power >= rough * (1 - 1e-9)) as number;
  return digit * power;
}

/** A coordinate as short as drawing needs. */
export function px(value: number): string {
  return String(Math.round(value * 10) / 10);
}

/**
 * Where an axis may stop on its bad side so that one far-off value does not press all others together: three quartile
 * distances beyond the worse quartile (Tukey's outer fence, Exploratory Data Analysis, 1977).
 */
export function outerFence(values: readonly number[], worse: 'above' | 'below'): number {
  const sorted = [...values].sort((a, b) => a - b);
  const quartile = (q: number) => sorted[Math.min(sorted.length - 1, Math.round(q * (sorted.length - 1)))];
  const reach = 3 * (quartile(0.75) - quartile(0.25));
  return worse === 'above' ? quartile(0.75) + reach : quartile(0.25) - reach;
}
