/**
 * Writes the corpora of the experiments as `{text}` documents, each split by content hash into `train`, `valid` and
 * `test`: `prose` (WikiText, worked sums, instructions), on which the base of the experiments is trained, and
 * `shakespeare`, which it never saw and is adapted to.
 *
 *     npx tsx experiments/corpora.ts runs/experiments/data [DATA]
 *
 * DATA defaults to `RANKINE_DATA` or `../shared/data`. Nothing is random: the same sources give the same bytes.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { gsm8kDocument, pack } from '../scripts/quickstart/corpus.ts';
import { wikitextParagraphs } from '../scripts/quickstart/detokenise.ts';

/** Of 256 documents so many are for validation, and as many for the test. */
const HELD_OUT = 13;

type Split = 'train' | 'valid' | 'test';

function splitOf(text: string): Split {
  const byte = createHash('sha256').update(text).digest()[31];
  if (byte < HELD_OUT) return 'valid';
  return byte < 2 * HELD_OUT ? 'test' : 'train';
}

function write(out: string, name: string, documents: readonly string[]): void {
  for (const split of ['train', 'valid', 'test'] as const) {
    const chosen = [...new Set(documents)].filter((text) => splitOf(text) === split);
    const path = join(out, `${name}.${split}.jsonl`);
    writeFileSync(path, chosen.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    const characters = chosen.reduce((sum, text) => sum + text.length, 0);
    console.log(`${path}: ${chosen.length} documents, ${characters.toLocaleString('en')} characters`);
  }
}

const out = process.argv[2] ?? 'runs/experiments/data';
const data =
  process.argv[3] ?? process.env.RANKINE_DATA ?? new URL('../../shared/data', import.meta.url).pathname;
const read = (file: string) => gunzipSync(readFileSync(join(data, file))).toString('utf8');
const lines = (file: string) =>
  read(file)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

mkdirSync(out, { recursive: true });
write(out, 'prose', [
  ...pack(wikitextParagraphs(read('text/wikitext2.valid.txt.gz')), '\n'),
  ...lines('ft/gsm8k.train.jsonl.gz').map(gsm8kDocument),
]);
write(out, 'shakespeare', pack(read('text/tinyshakespeare.txt.gz').split('\n\n'), '\n\n'));
