import { BLOCK } from './eight-bit.ts';
import { entryBytes, OF_M, OF_V } from './eight-bit-encoding.ts';

/** Weights that pass through the kernel's memory at once, and stay in the second cache. */
export const CHUNK = 16384;

/** Single numbers of an update: W ← W − step M / (root √V + epsilon) − decay W. */
export interface Singles {
  /** Multiplies the gradient. */
  readonly clip: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly step: number;
  readonly root: number;
  readonly epsilon: number;
  readonly decay: number;
}

/** Single numbers in the order in which they lie in the memory. */
export const SINGLES = [
  ...(['clip', 'beta1', 'beta2', 'step', 'root', 'epsilon', 'decay'] as const),
  ...(['gain1', 'gain2', 'one', 'smallest'] as const),
];

export function singlesInMemory(o: Singles): number[] {
  // The smallest scale is the one whose reciprocal is surely a float32.
  const all = { ...o, gain1: 1 - o.beta1, gain2: 1 - o.beta2, one: 1, smallest: 2 ** -126 };
  return SINGLES.map((name) => all[name]);
}

/** Addresses in the kernel's memory. */
export const PLACES = layOut({
  mEntries: entryBytes(OF_M),
  vEntries: entryBytes(OF_V),
  mCodes: 256 * 4,
  vCodes: 256 * 4,
  singles: SINGLES.length * 4,
  first: BLOCK * 4,
  second: BLOCK * 4,
  firstEntries: BLOCK * 4,
  secondEntries: BLOCK * 4,
  mScale: (CHUNK / BLOCK) * 4,
  vScale: (CHUNK / BLOCK) * 4,
  m: CHUNK,
  v: CHUNK,
  w: CHUNK * 4,
  g: CHUNK * 4,
});

function layOut<K extends string>(bytes: Record<K, number>): Record<K | 'end', number> {
  let end = 0;
  const places: Record<string, number> = {};
  for (const [name, count] of Object.entries<number>(bytes)) {
    places[name] = end;
    end += Math.ceil(count / 16) * 16;
  }
  return { ...places, end } as Record<K | 'end', number>;
}
