import { type Dataset, detectShape, languageSample } from '../data/index.ts';
import { RankineError } from '../errors.ts';
import { type Answerer, answer } from '../training/index.ts';
import { wilsonInterval } from './wilson.ts';

export interface Answered {
  readonly prompt: string;
  readonly expected: string;
  readonly answer: string;
  readonly right: boolean;
}

export interface ExactMatch {
  readonly right: number;
  readonly total: number;
  readonly share: number;
  /** 95 %, Wilson. */
  readonly interval: readonly [low: number, high: number];
  readonly answers: readonly Answered[];
}

export interface ExactMatchOptions {
  /** Rows that are asked at most. */
  readonly limit?: number;
  readonly batch?: number;
  /** Longest answer in tokens; default: that of the longest expected one, and its end. */
  readonly maxTokens?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Asks every prompt of a dataset (rows of prompt and completion, or of instruction and output) and compares the greedy
 * answer with the completion, spaces at both ends left out.
 *
 * @throws RankineError `studies/no-completions`, and those of the data and of `generate`
 */
export async function exactMatch(
  answerer: Answerer,
  dataset: Dataset,
  options: ExactMatchOptions = {},
): Promise<ExactMatch> {
  const pairs = await readPairs(dataset, options.limit);
  const { encodePieces } = answerer.tokenizer;
  const lengths = pairs.map(({ prompt, completion }) => encodePieces([prompt, completion])[1].length);
  const completions = await answer(
    answerer,
    pairs.map((p) => p.prompt),
    {
      maxNewTokens: options.maxTokens ?? Math.max(...lengths) + 1,
      batch: options.batch,
      onProgress: (done) => options.onProgress?.(done, pairs.length),
    },
  );
  const answers = pairs.map(({ prompt, completion }, i): Answered => {
    const text = completions[i].text;
    return { prompt, expected: completion, answer: text, right: text.trim() === completion.trim() };
  });
  const right = answers.filter((a) => a.right).length;
  const total = answers.length;
  return { right, total, share: right / total, interval: wilsonInterval(right, total), answers };
}

async function readPairs(dataset: Dataset, limit = Infinity) {
  const pairs: { prompt: string; completion: string }[] = [];
  for await (const row of dataset.rows()) {
    if (pairs.length >= limit) break;
    const sample = languageSample(row, detectShape(row));
    if (sample.kind !== 'completion')
      throw new RankineError(
        'studies/no-completions',
        `${row.where}: there is no completion to compare an answer with.`,
        'Exact match needs rows of prompt and completion (or instruction and output); leave --generate out.',
      );
    pairs.push(sample);
  }
  return pairs;
}
