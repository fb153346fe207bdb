import type { StudyResult } from './results.ts';

/** A loss of a language model as perplexity: the same number in another scale. */
export type Perplexity = (loss: number) => string;

/**
 * How to write a study's losses as perplexities, exp of the mean loss over tokens; undefined where its metric is another,
 * or its model names classes.
 */
export function perplexityOf({ metric, test }: Pick<StudyResult, 'metric' | 'test'>): Perplexity | undefined {
  const isOfTexts = metric.name === 'loss' && test?.texts === true;
  return isOfTexts ? (loss) => written(Math.exp(loss)) : undefined;
}

/** Four digits tell apart what losses of three decimals do: `169.9`, `7.980`, `12,350`. */
function written(value: number): string {
  return value < 1000 ? value.toPrecision(4) : Number(value.toPrecision(4)).toLocaleString('en');
}
