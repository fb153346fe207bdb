import { RankineError } from '../errors.ts';

/**
 * The row lengths that batches may have; a program is compiled for each. A number: that one. Else the longest example
 * of a batch is rounded up to a multiple, or to the next of the buckets.
 */
export type Lengths = number | { readonly multipleOf: number } | { readonly buckets: readonly number[] };

/** The length of the rows of a batch whose longest example has `needed` tokens. */
export function rowLength(lengths: Lengths, needed: number): number {
  if (typeof lengths === 'number') return lengths;
  if ('multipleOf' in lengths) return Math.ceil(needed / lengths.multipleOf) * lengths.multipleOf;
  const fitting = lengths.buckets.filter((bucket) => bucket >= needed);
  return fitting.length > 0 ? Math.min(...fitting) : Math.max(...lengths.buckets);
}

/** The most tokens that a row can hold; a multiple alone sets no limit of its own, so the longest example does. */
export function rowCapacity(lengths: Lengths, longest: number | undefined, name: string): number {
  const positive = (n: number) => Number.isInteger(n) && n > 0;
  const given =
    typeof lengths === 'number' ? [lengths] : 'buckets' in lengths ? lengths.buckets : [lengths.multipleOf];
  if (given.length === 0 || !given.every(positive))
    throw new RankineError('data/lengths', `${name}: row lengths [${given}] are not all positive integers.`);
  if (typeof lengths === 'number' || 'buckets' in lengths) return Math.max(...given);
  return longest === undefined ? Infinity : rowLength(lengths, longest);
}
