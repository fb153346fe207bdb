import { InvalidArgumentError } from 'commander';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/** Bytes of `300MB`, `1.5 GiB`, `2e9`. */
export function memorySize(text: string): number {
  const [, number, unit] = /^\s*([\d.]+(?:e\d+)?)\s*([a-z]*)\s*$/i.exec(text) ?? [];
  const bytes = Number(number) * (UNITS[unit?.toLowerCase()] ?? Number.NaN);
  if (Number.isFinite(bytes) && bytes > 0) return bytes;
  throw new InvalidArgumentError('Write an amount of memory such as 300MB, 24GB or 1.5GiB.');
}

/** `1.76 GB`, as published figures count: 1 GB = 10⁹ bytes. */
export function decimalBytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const at = n < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(n) / 3));
  const value = n / 1000 ** at;
  return `${value.toFixed(at === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2)} ${units[at]}`;
}
