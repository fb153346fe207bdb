/**
 * Writes the quickstart's task: dates as people write them, to be turned into ISO 8601.
 *
 *     npx tsx scripts/quickstart/task.ts [OUT] [SEED]
 *
 * `train.jsonl` and `test.jsonl` hold `{prompt, completion}` lines; no date of the one occurs in the other. OUT defaults
 * to `quickstart/data`. The same seed gives the same bytes.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { random } from '../../src/linalg/index.ts';
import { datesBetween, isoDate, writeDate } from './dates.ts';

const TRAIN = 6000;
const TEST = 300;
const YEARS = [1900, 2029] as const;

export interface Example {
  /** The date in words and a line "ISO:". */
  prompt: string;
  /** A space and the date as YYYY-MM-DD. */
  completion: string;
}

/** Training and test examples over distinct dates. */
export function dateTask(seed: number): { train: Example[]; test: Example[] } {
  const draw = random(seed, 'quickstart/task').cursor();
  const dates = draw.shuffle(datesBetween(...YEARS)).slice(0, TRAIN + TEST);
  const examples = dates.map((date) => ({
    prompt: `${writeDate(date, draw)}\nISO:`,
    completion: ` ${isoDate(date)}`,
  }));
  return { test: examples.slice(0, TEST), train: examples.slice(TEST) };
}

function main(out: string, seed: number): void {
  mkdirSync(out, { recursive: true });
  for (const [name, examples] of Object.entries(dateTask(seed))) {
    writeFileSync(
      join(out, `${name}.jsonl`),
      examples.map((example) => `${JSON.stringify(example)}\n`).join(''),
    );
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const out = process.argv[2] ?? new URL('../../quickstart/data', import.meta.url).pathname;
  main(out, Number(process.argv[3] ?? 1));
}
