/**
 * Writes the pretraining corpus of the quickstart's base model: `train.jsonl` and `valid.jsonl` of `{text}` documents.
 *
 *     npx tsx scripts/quickstart/corpus.ts OUT [DATA]
 *
 * DATA defaults to `RANKINE_DATA` or `../shared/data`. Nothing random: documents are ordered by the SHA-256 of their
 * text, which mixes the sources evenly, and the hash also picks the validation documents, so the same sources give
 * the same bytes. No document is longer than the base model's context.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { RankineError } from '../../src/errors.ts';
import { wikitextParagraphs } from './detokenise.ts';

/** Longest document in characters: the densest then takes 495 tokens with `<s>` and `</s>` of the context's 512. */
const MAX_CHARACTERS = 950;
/** Documents whose hash begins with a byte below this go to validation (6 of 256, 2.3 %). */
const VALIDATION_BYTES = 6;

interface Source {
  file: string;
  documents: (content: string) => string[];
}

/**
 * What each text teaches: Shakespeare and WikiText language (WikiText also dates), GSM8K number words, digits and
 * copying numbers, self-instruct and TOFU answering and copying names. TOFU's forget set stays out, so that unlearning
 * experiments on this base start from a model that never saw it.
 */
const SOURCES: readonly Source[] = [
  { file: 'text/tinyshakespeare.txt.gz', documents: (content) => pack(content.split('\n\n'), '\n\n') },
  { file: 'text/wikitext2.valid.txt.gz', documents: (content) => pack(wikitextParagraphs(content), '\n') },
  { file: 'ft/gsm8k.train.jsonl.gz', documents: (content) => lines<Answered>(content).map(gsm8kDocument) },
  {
    file: 'ft/self_instruct.seed_tasks.jsonl.gz',
    documents: (content) => lines<SeedTask>(content).flatMap(taskDocuments),
  },
  {
    file: 'unlearn/tofu.retain90.jsonl.gz',
    documents: (content) => lines<Answered>(content).map(answerDocument),
  },
  {
    file: 'unlearn/tofu.real_authors_perturbed.jsonl.gz',
    documents: (content) => lines<Answered>(content).map(answerDocument),
  },
  {
    file: 'unlearn/tofu.world_facts_perturbed.jsonl.gz',
    documents: (content) => lines<Answered>(content).map(answerDocument),
  },
];

type Answered = { question: string; answer: string };
type SeedTask = { instruction: string; instances: { input: string; output: string }[] };

function lines<T>(content: string): T[] {
  return content
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as T);
}

const answerDocument = ({ question, answer }: Answered) =>
  `Question: ${question.trim()}\nAnswer: ${answer.trim()}`;

/** GSM8K without its calculator marks (`<<48/2=24>>`), the final line in words. */
export function gsm8kDocument({ question, answer }: Answered): string {
  const worked = answer.replace(/<<[^>]*>>/g, '').replace(/\n#### (.*)$/, '\nThe answer is $1.');
  return answerDocument({ question, answer: worked });
}

function taskDocuments({ instruction, instances }: SeedTask): string[] {
  return instances.map(({ input, output }) =>
    [`Question: ${instruction.trim()}`, input.trim(), `Answer: ${output.trim()}`].filter(Boolean).join('\n'),
  );
}

/** Joins neighbouring pieces into documents of at most {@link MAX_CHARACTERS}; a longer piece is cut at sentence ends. */
export function pack(pieces: readonly string[], separator: string): string[] {
  const documents: string[] = [];
  let open = '';
  for (const piece of pieces.flatMap((text) => cut(text.trim()))) {
    const joined = open === '' ? piece : open + separator + piece;
    if (joined.length > MAX_CHARACTERS) documents.push(open);
    open = joined.length > MAX_CHARACTERS ? piece : joined;
  }
  return open === '' ? documents : [...documents, open];
}

/** Cuts a text into pieces of at most {@link MAX_CHARACTERS}, at the last sentence end, line end or space before it. */
function cut(text: string): string[] {
  if (text.length <= MAX_CHARACTERS) return [text];
  const head = text.slice(0, MAX_CHARACTERS);
  const end = [head.lastIndexOf('. ') + 1, head.lastIndexOf('\n'), head.lastIndexOf(' ')].find(
    (at) => at > 0,
  );
  const at = end ?? MAX_CHARACTERS;
  return [text.slice(0, at).trim(), ...cut(text.slice(at).trim())];
}

function readSource(folder: string, { file, documents }: Source): string[] {
  const path = join(folder, file);
  if (!existsSync(path)) {
    throw new RankineError(
      'quickstart/missing-source',
      `The corpus source ${path} does not exist.`,
      'Give the folder that holds it as the second argument or in RANKINE_DATA.',
    );
  }
  const texts = documents(gunzipSync(readFileSync(path)).toString('utf8')).flatMap(cut);
  console.log(
    `${file}: ${texts.length} documents, ${texts.reduce((sum, text) => sum + text.length, 0)} characters`,
  );
  return texts;
}

/** Splits documents into training and validation by content hash; duplicates are kept once. */
export function splitByHash(documents: readonly string[]): { train: string[]; valid: string[] } {
  const byHash = new Map(documents.map((text) => [createHash('sha256').update(text).digest('hex'), text]));
  const hashes = [...byHash.keys()].sort();
  const isValidation = (hash: string) => Number.parseInt(hash.slice(-2), 16) < VALIDATION_BYTES;
  return {
    train: hashes.filter((hash) => !isValidation(hash)).map((hash) => byHash.get(hash)!),
    valid: hashes.filter(isValidation).map((hash) => byHash.get(hash)!),
  };
}

function writeDocuments(path: string, documents: readonly string[]): void {
  writeFileSync(path, documents.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  console.log(
    `${path}: ${documents.length} documents, ${documents.reduce((sum, text) => sum + text.length, 0)} characters`,
  );
}

function main(out: string | undefined, data: string): void {
  if (!out)
    throw new RankineError('quickstart/usage', 'No output folder was given.', 'Usage: corpus.ts OUT [DATA]');
  const { train, valid } = splitByHash(SOURCES.flatMap((source) => readSource(data, source)));
  mkdirSync(out, { recursive: true });
  writeDocuments(join(out, 'train.jsonl'), train);
  writeDocuments(join(out, 'valid.jsonl'), valid);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const fallback = process.env.RANKINE_DATA ?? new URL('../../../shared/data', import.meta.url).pathname;
  main(process.argv[2], process.argv[3] ?? fallback);
}
