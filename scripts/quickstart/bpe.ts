/**
 * Byte-level BPE training (Sennrich et al. 2016, "Neural machine translation of rare words with subword units", with
 * GPT-2's byte alphabet and pre-tokenisation). Merges come in the order of Hugging Face's `BpeTrainer`: the most
 * frequent pair first, ties by the smaller pair of ids.
 */

/** ASCII digits stand alone, so that a number always has the same tokens. */
export const DIGIT = '[0-9]';
const SPLIT_DIGITS = new RegExp(`${DIGIT}|[^0-9]+`, 'gu');
/** GPT-2's pattern, what the `ByteLevel` pre-tokenizer of tokenizer.json applies. */
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** GPT-2's printable stand-in for each byte: itself where printable in Latin-1, else the next free one from U+0100 on. */
export const BYTE_SYMBOLS: readonly string[] = byteSymbols();

function byteSymbols(): string[] {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}

/** Splits text into the pieces that merges never cross, each written in byte symbols. */
export function preTokenise(text: string): string[] {
  const bytes = new TextEncoder();
  return (text.match(SPLIT_DIGITS) ?? [])
    .flatMap((part) => part.match(WORDS) ?? [])
    .map((word) => Array.from(bytes.encode(word), (byte) => BYTE_SYMBOLS[byte]).join(''));
}

/** How often each pre-token occurs in the texts. */
export function countWords(texts: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const word of preTokenise(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

export interface Bpe {
  /** Token string of each id: the 256 byte symbols in code point order, then one token per merge. */
  readonly tokens: string[];
  /** Left and right token string of each merge, in order. */
  readonly merges: [string, string][];
  /** Length in tokens of the training text, special tokens not counted. */
  readonly length: number;
}

interface Word {
  ids: number[];
  readonly count: number;
}

/** Counts of adjacent pairs, and the words that may hold each pair (stale entries are harmless). */
class PairTable {
  readonly counts = new Map<number, number>();
  readonly words = new Map<number, Set<Word>>();

  /** Adds (`sign` 1) or takes away (`sign` -1) every pair of a word. */
  change(word: Word, sign: 1 | -1): void {
    for (let i = 1; i < word.ids.length; i++) {
      const pair = encodePair(word.ids[i - 1], word.ids[i]);
      this.counts.set(pair, (this.counts.get(pair) ?? 0) + sign * word.count);
      if (sign === 1) this.#wordsOf(pair).add(word);
    }
  }

  /** The most frequent pair, ties to the smaller ids; undefined where no pair is left. */
  best(): number | undefined {
    let best: number | undefined;
    let most = 0;
    for (const [pair, count] of this.counts) {
      if (count > most || (count === most && best !== undefined && pair < best)) [best, most] = [pair, count];
    }
    return best;
  }

  /** Forgets a merged pair and gives back its words. */
  take(pair: number): Set<Word> {
    const words = this.#wordsOf(pair);
    this.words.delete(pair);
    return words;
  }

  #wordsOf(pair: number): Set<Word> {
    const words = this.words.get(pair) ?? new Set();
    this.words.set(pair, words);
    return words;
  }
}

/** Two ids below 2^16 as one number whose order is the order of (left, right). */
const encodePair = (left: number, right: number): number => left * 65536 + right;

/**
 * Trains a BPE on counted pre-tokens.
 * @param words counts per pre-token in byte symbols, from {@link countWords}
 * @param size  number of tokens to reach, 256 to 65,536; fewer come out where no pair is left to merge
 */
export function trainBpe(words: ReadonlyMap<string, number>, size: number): Bpe {
  const tokens = [...BYTE_SYMBOLS].sort();
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const merges: [string, string][] = [];
  const list = [...words].map(([word, count]): Word => ({ ids: [...word].map((c) => idOf.get(c)!), count }));
  const table = new PairTable();
  for (const word of list) table.change(word, 1);
  while (tokens.length < size) {
    const pair = table.best();
    if (pair === undefined) break;
    const [left, right] = [Math.floor(pair / 65536), pair % 65536];
    merges.push([tokens[left], tokens[right]]);
    mergeEverywhere(table, pair, tokenId(tokens, idOf, tokens[left] + tokens[right]));
  }
  return { tokens, merges, length: list.reduce((sum, word) => sum + word.ids.length * word.count, 0) };
}

/** The id of a token; two merges may spell the same token ("a"+"bc", "ab"+"c"), which then keeps its first id. */
function tokenId(tokens: string[], idOf: Map<string, number>, token: string): number {
  const known = idOf.get(token);
  if (known !== undefined) return known;
  idOf.set(token, tokens.length);
  return tokens.push(token) - 1;
}

function mergeEverywhere(table: PairTable, pair: number, merged: number): void {
  for (const word of table.take(pair)) {
    table.change(word, -1);
    word.ids = mergePair(word.ids, pair, merged);
    table.change(word, 1);
  }
  table.counts.delete(pair);
}

/** Replaces each occurrence of a pair, from the left. */
function mergePair(ids: readonly number[], pair: number, merged: number): number[] {
  const out: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    const here = i + 1 < ids.length && encodePair(ids[i], ids[i + 1]) === pair;
    out.push(here ? merged : ids[i]);
    if (here) i++;
  }
  return out;
}
