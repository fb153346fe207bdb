const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const DECIMAL = ['', 'K', 'M', 'B', 'T'];

/** 1536 → `1.5 KiB`; three significant digits. */
export function bytes(n: number): string {
  const [value, unit] = scale(n, 1024, BINARY);
  return `${value} ${unit}`;
}

/** 1234567 → `1.23M`, 999 → `999`; three significant digits above a thousand. */
export function count(n: number): string {
  return scale(n, 1000, DECIMAL).join('');
}

/** Seconds → `0.4 s`, `12 s`, `3 m 05 s`, `2 h 07 m`, `3 d 04 h`; `–` when unknown. */
export function duration(seconds: number | undefined): string {
  if (seconds === undefined || !Number.isFinite(seconds)) return '–';
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return pair(Math.floor(s / 60), 'm', s % 60, 's');
  const m = Math.round(seconds / 60);
  if (m < 24 * 60) return pair(Math.floor(m / 60), 'h', m % 60, 'm');
  const h = Math.round(seconds / 3600);
  return pair(Math.floor(h / 24), 'd', h % 24, 'h');
}

/** A metric or a rate in at most nine characters: `2.3456`, `0.0123`, `3.0e-4`, `NaN`. */
export function number(value: number): string {
  if (!Number.isFinite(value) || value === 0) return String(value);
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(1);
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(size < 100 ? 4 : 1);
}

/** A share as `12.3 %`. */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return `${large} ${largeUnit} ${String(small).padStart(2, '0')} ${smallUnit}`;
}

function scale(n: number, base: number, units: readonly string[]): [string, string] {
  if (!Number.isFinite(n)) return ['–', ''];
  let value = n;
  let i = 0;
  // Rounded values count: 1023.9 B is 1 KiB, not 1024 B.
  while (Math.abs(value) >= roundsUpTo(base) && i < units.length - 1) {
    value /= base;
    i++;
  }
  return [i === 0 ? String(Math.round(value)) : threeDigits(value), units[i]];
}

function roundsUpTo(base: number): number {
  return base - 0.5;
}

function threeDigits(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}
