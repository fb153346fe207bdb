import { RankineError } from '../errors.ts';
import type { JsonObject } from './json-keys.ts';

/** A piece of a SentencePiece vocabulary; a higher score merges first. Spaces stand for SentencePiece's `▁`. */
export interface Llama2cPiece {
  readonly text: string;
  readonly score: number;
}

/**
 * Reads `count` pieces (float32 score, int32 length, UTF-8 bytes) from `start`; a tokenizer file has them after a
 * 4-byte length of the longest piece.
 *
 * @throws RankineError `formats/truncated`
 */
export function parseLlama2cVocabulary(
  file: string,
  bytes: Uint8Array,
  start: number,
  count: number,
): { pieces: Llama2cPiece[]; end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pieces: Llama2cPiece[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    const length = at + 8 <= bytes.length ? view.getInt32(at + 4, true) : -1;
    if (length < 0 || at + 8 + length > bytes.length)
      throw new RankineError(
        'formats/truncated',
        `The vocabulary in ${file} ends at piece ${i} of ${count}.`,
        'Download the file again.',
      );
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(
      bytes.subarray(at + 8, at + 8 + length),
    );
    pieces.push({ text, score: view.getFloat32(at, true) });
    at += 8 + length;
  }
  return { pieces, end: at };
}

/** Reads a whole tokenizer file of llama2.c. */
export function readLlama2cVocabulary(file: string, bytes: Uint8Array, count: number): Llama2cPiece[] {
  return parseLlama2cVocabulary(file, bytes, 4, count).pieces;
}

const SPECIAL = ['<unk>', '<s>', '</s>'];

/**
 * The vocabulary as `tokenizer.json` and `tokenizer_config.json`: byte-pair merges in the order of the scores, with
 * bytes for what no piece covers, as SentencePiece encodes (a space before the text, `<s>` in front).
 */
export function llama2cTokenizer(pieces: readonly Llama2cPiece[]): {
  tokenizer: JsonObject;
  config: JsonObject;
} {
  const texts = pieces.map(({ text }, id) => (id < SPECIAL.length ? SPECIAL[id] : text.replaceAll(' ', '▁')));
  const special = (content: string, id: number) => ({
    ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  });
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map(special),
    normalizer: sequence('normalizers', [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ]),
    pre_tokenizer: null,
    post_processor: beginWith('<s>', 1),
    decoder: sequence('decoders', [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 },
    ]),
    model: bytePairModel(pieces, texts),
  };
  return { tokenizer, config: TOKENIZER_CONFIG };
}

const TOKENIZER_CONFIG: JsonObject = {
  tokenizer_class: 'PreTrainedTokenizerFast',
  bos_token: '<s>',
  eos_token: '</s>',
  unk_token: '<unk>',
  clean_up_tokenization_spaces: false,
};

function sequence(key: string, items: JsonObject[]): JsonObject {
  return { type: 'Sequence', [key]: items };
}

function beginWith(token: string, id: number): JsonObject {
  const start = { SpecialToken: { id: token, type_id: 0 } };
  const text = (name: string, type: number) => ({ Sequence: { id: name, type_id: type } });
  return {
    type: 'TemplateProcessing',
    single: [start, text('A', 0)],
    pair: [start, text('A', 0), { SpecialToken: { id: token, type_id: 1 } }, text('B', 1)],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}

function bytePairModel(pieces: readonly Llama2cPiece[], texts: readonly string[]): JsonObject {
  return {
    type: 'BPE',
    dropout: null,
    unk_token: '<unk>',
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: true,
    byte_fallback: true,
    ignore_merges: false,
    vocab: Object.fromEntries(texts.map((text, id) => [text, id])),
    merges: merges(pieces, texts),
  };
}

/** Every way to make a piece of two others; pieces with the highest score first, as SentencePiece merges them. */
function merges(pieces: readonly Llama2cPiece[], texts: readonly string[]): [string, string][] {
  const ids = new Map(texts.map((text, id) => [text, id]));
  const order = texts.map((_, id) => id).filter((id) => id >= SPECIAL.length && !isByte(texts[id]));
  order.sort((a, b) => pieces[b].score - pieces[a].score || a - b);
  return order.flatMap((id) => splits(texts[id], ids));
}

function splits(text: string, ids: ReadonlyMap<string, number>): [string, string][] {
  const characters = [...text];
  const found: [string, string][] = [];
  for (let i = 1; i < characters.length; i++) {
    const pair: [string, string] = [characters.slice(0, i).join(''), characters.slice(i).join('')];
    if (pair.every((half) => ids.has(half))) found.push(pair);
  }
  return found;
}

function isByte(text: string): boolean {
  return /^<0x[0-9A-F]{2}>$/.test(text);
}
