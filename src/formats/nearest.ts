import { RankineError } from '../errors.ts';

/** Levenshtein distance: the fewest insertions, deletions and replacements of one character. */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++)
      current[j] = Math.min(
        previous[j] + 1,
        current[j - 1] + 1,
        previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1),
      );
    previous = current;
  }
  return previous[b.length];
}

/** The `count` names closest to `name`, closest first; a name that ends in `name` or the reverse counts as closest. */
export function nearestNames(name: string, known: Iterable<string>, count = 3): string[] {
  const distance = (other: string) =>
    other.endsWith(`.${name}`) || name.endsWith(`.${other}`) ? 0 : editDistance(name, other);
  return [...known]
    .map((other) => ({ other, d: distance(other) }))
    .sort((x, y) => x.d - y.d)
    .slice(0, count)
    .map(({ other }) => other);
}

/** The error for a tensor that a file does not hold; names the nearest that it does hold. */
export function missingTensor(file: string, name: string, known: Iterable<string>): RankineError {
  const nearest = nearestNames(name, known);
  return new RankineError(
    'formats/missing-tensor',
    `${file} holds no tensor ${name}.`,
    nearest.length > 0 ? `The nearest names are ${nearest.join(', ')}.` : 'It holds no tensors at all.',
  );
}
