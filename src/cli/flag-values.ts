import { InvalidArgumentError } from 'commander';

/** A number after a flag. */
export function numberFlag(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It is no number.');
  return value;
}

export function integerFlag(text: string): number {
  const value = numberFlag(text);
  if (!Number.isInteger(value)) throw new InvalidArgumentError('It is no whole number.');
  return value;
}

/** A count. */
export function positiveFlag(text: string): number {
  const value = integerFlag(text);
  if (value < 1) throw new InvalidArgumentError('It is not above 0.');
  return value;
}

/** A flag that may be given several times. */
export function collected(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

/** One of some words. */
export function oneOf<T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const found = words.find((word) => word === text);
    if (found === undefined) throw new InvalidArgumentError(`Allowed choices are ${words.join(', ')}.`);
    return found;
  };
}
