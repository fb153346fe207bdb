import { RankineError } from '../errors.ts';
import { random } from '../linalg/index.ts';
import { type Dataset, select } from './dataset.ts';

export interface SplitOptions {
  /** Share of the rows held out, in (0, 1), rounded to at least one row … */
  readonly fraction?: number;
  /** … or their number. */
  readonly count?: number;
  readonly seed: number;
}

/**
 * Holds rows out for evaluation. The two parts are disjoint and together are the dataset; each keeps the file order,
 * so that it streams forward through the file.
 * @throws RankineError `data/split` where one part would be empty
 */
export async function split(
  dataset: Dataset,
  { fraction, count, seed }: SplitOptions,
): Promise<{ train: Dataset; held: Dataset }> {
  const rows = await dataset.count();
  const asked = count ?? Math.max(1, Math.round(rows * (fraction ?? Number.NaN)));
  if (!Number.isInteger(asked) || asked < 1 || asked >= rows)
    throw new RankineError(
      'data/split',
      `${asked} of the ${rows} rows of ${dataset.name} cannot be held out.`,
      'Give a count from 1 to one less than the rows, or a fraction between 0 and 1.',
    );
  const order = random(seed, 'data/split').cursor().permutation(rows);
  return {
    held: select(dataset, order.slice(0, asked).sort()),
    train: select(dataset, order.slice(asked).sort()),
  };
}
