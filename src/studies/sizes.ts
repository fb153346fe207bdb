const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** Bytes of a number, or of a text like `300MB` or `2 GiB`; undefined for anything else. */
export function bytesOf(size: number | string): number | undefined {
  if (typeof size === 'number') return size;
  const [, digits, unit] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(size) ?? [];
  const factor = UNITS[unit?.toUpperCase()];
  return digits === undefined || factor === undefined ? undefined : Math.round(Number(digits) * factor);
}
