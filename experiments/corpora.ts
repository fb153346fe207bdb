/**
 * Writes the corpora of the experiments as `{text}` documents, each split by content hash into `train`, `valid` and
 * `test`: `wikitext`; `prose` (WikiText and worked sums), on which the base of the experiments is trained; and
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

interface Labelled {
  readonly text: string;
  readonly label: number;
}

type Split = 'train' | 'valid' | 'test';

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function splitOf(text: string): Split {
  const byte = Number.parseInt(hashOf(text).slice(-2), 16);
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

/**
 * SST-2 as `{text, label}`: train and validation from its training phrases, of whole clauses; the test from its
 * development sentences that the training phrases do not hold.
 */
function writeSentiment(out: string): void {
  const seen = new Set(rowsOf('ft/glue/sst2.train.tsv.gz').map(({ text }) => text));
  const byHash = (rows: readonly Labelled[]) =>
    [...rows].sort((a, b) => (hashOf(a.text) < hashOf(b.text) ? -1 : 1));
  const clauses = byHash(
    rowsOf('ft/glue/sst2.train.tsv.gz').filter(({ text }) => text.split(' ').length >= 8),
  );
  const sentences = byHash(rowsOf('ft/glue/sst2.dev.tsv.gz').filter(({ text }) => !seen.has(text)));
  const sets = {
    train: clauses.slice(0, 4000),
    valid: clauses.slice(4000, 4400),
    test: sentences.slice(0, 800),
  };
  for (const [split, rows] of Object.entries(sets)) {
    const path = join(out, `sst2.${split}.jsonl`);
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    console.log(`${path}: ${rows.length} sentences`);
  }
}

function rowsOf(file: string): Labelled[] {
  const rows = read(file).trim().split('\n').slice(1);
  const pairs = rows.map((row) => row.split('\t'));
  return [
    ...new Map(
      pairs.map(([text, label]) => [text.trim(), { text: text.trim(), label: Number(label) }]),
    ).values(),
  ];
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
const wikitext = pack(wikitextParagraphs(read('text/wikitext2.valid.txt.gz')), '\n');
write(out, 'wikitext', wikitext);
write(out, 'prose', [...wikitext, ...lines('ft/gsm8k.train.jsonl.gz').map(gsm8kDocument)]);
writeSentiment(out);
write(out, 'shakespeare', pack(read('text/tinyshakespeare.txt.gz').split('\n\n'), '\n\n'));
