import { Tokenizer as Library } from '@huggingface/tokenizers';
import { RankineError } from '../errors.ts';
import { type FramePart, frameCost, specialFrame } from './special-frame.ts';
import { readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.ts';

/** Ids of the special tokens; absent where the tokenizer has none. */
export interface SpecialIds {
  readonly bos?: number;
  readonly eos?: number;
  readonly pad?: number;
  readonly unk?: number;
}

/** Token ids with the token type of each (0 first text, 1 second text, where the model distinguishes them). */
export interface Encoding {
  readonly ids: Int32Array;
  readonly typeIds: Int32Array;
  /** Tokens of the texts that `maxLength` cut away. */
  readonly cut: number;
}

export interface EncodeOptions {
  /** Put the tokenizer's own special tokens around (default true). */
  readonly addSpecialTokens?: boolean;
  /** A second text, as BERT's sentence pairs. */
  readonly pair?: string;
  /** Longest allowed result, special tokens included; the longer of the two texts is cut first, at its end. */
  readonly maxLength?: number;
}

export interface Tokenizer {
  /** Number of ids, added tokens included: the largest id plus one. */
  readonly size: number;
  readonly special: SpecialIds;
  /** `bos_token`, `eos_token`, … as text, for chat templates. */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** Contents of all added tokens that are marked special. */
  readonly stopTexts: readonly string[];
  /** Chat templates by name; the main one is `default`; empty where the folder has none. */
  readonly templates: Readonly<Record<string, string>>;
  /** Ids that the tokenizer itself puts before and after a single text. */
  readonly around: { readonly before: readonly number[]; readonly after: readonly number[] };
  encode(text: string, options?: EncodeOptions): Encoding;
  /**
   * Ids of every piece, each tokenized as the continuation of the pieces before it and without special tokens,
   * so that every boundary between two pieces is a boundary between two tokens. Where a merge would span the
   * boundary, the piece is tokenized as if it stood alone: the left side is then exactly what the model sees when
   * it is asked to continue.
   */
  encodePieces(pieces: readonly string[]): Int32Array[];
  decode(ids: ArrayLike<number>, options?: { skipSpecialTokens?: boolean }): string;
  idOf(token: string): number | undefined;
  tokenOf(id: number): string | undefined;
}

/**
 * Loads a Hugging Face tokenizer folder (see `readTokenizerFiles` for the files that count).
 * @throws RankineError `data/no-tokenizer`, `data/broken-json`, `data/tokenizer-part`
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  return createTokenizer(await readTokenizerFiles(folder));
}

/** A tokenizer from the contents of its files. */
export function createTokenizer(files: TokenizerFiles): Tokenizer {
  const library = openLibrary(files);
  const frame = specialFrame(files.json.post_processor);
  const specialTokens = specialTexts(files.config);
  const idOf = (token: string): number | undefined => library.token_to_id(token);
  const prepare = spacesRareHan(files.json.normalizer) ? spaceRareHan : (text: string) => text;
  const raw = (text: string): number[] =>
    text === '' ? [] : library.encode(prepare(text), { add_special_tokens: false }).ids;
  const at = frame.single.findIndex((part) => part.text === 'A');
  return {
    size: vocabularySize(library),
    special: specialIds(specialTokens, idOf),
    specialTokens,
    stopTexts: files.json.added_tokens.filter((t) => t.special).map((t) => t.content),
    templates: files.templates,
    around: { before: ids(frame.single.slice(0, at)), after: ids(frame.single.slice(at + 1)) },
    encode: (text, options = {}) => encode(raw, frame, text, options),
    encodePieces: (pieces) => encodePieces(raw, pieces),
    decode: (list, { skipSpecialTokens = false } = {}) => {
      if (list.length === 0) return '';
      // transformers 5 cleans up only where the configuration says so; the library's own default is the older one.
      const clean = files.config.clean_up_tokenization_spaces === true;
      return library.decode(Array.from(list), {
        skip_special_tokens: skipSpecialTokens,
        clean_up_tokenization_spaces: clean,
      });
    },
    idOf,
    tokenOf: (id) => library.id_to_token(id),
  };
}

function openLibrary(files: TokenizerFiles): Library {
  try {
    return new Library(files.json, files.config);
  } catch (cause) {
    throw new RankineError(
      'data/tokenizer-part',
      `The tokenizer in ${files.folder} cannot be built: ${(cause as Error).message}.`,
      'Check that tokenizer.json is complete; a part may be of a kind that is not supported.',
      { cause },
    );
  }
}

function spacesRareHan(normalizer: unknown): boolean {
  const { type, handle_chinese_chars } = (normalizer ?? {}) as Record<string, unknown>;
  return type === 'BertNormalizer' && handle_chinese_chars === true;
}

/** BERT sets spaces around Han characters; the library overlooks those beyond U+FFFF (0.2.0). */
function spaceRareHan(text: string): string {
  return text.replace(
    /[\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B820}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu,
    ' $& ',
  );
}

type Raw = (text: string) => number[];

function encode(
  raw: Raw,
  frame: ReturnType<typeof specialFrame>,
  text: string,
  { addSpecialTokens = true, pair, maxLength = Infinity }: EncodeOptions,
): Encoding {
  const layout = pair === undefined ? frame.single : frame.pair;
  const parts = addSpecialTokens ? layout : layout.filter((part) => part.text !== undefined);
  const texts = { A: raw(text), B: pair === undefined ? [] : raw(pair) };
  const before = texts.A.length + texts.B.length;
  cutLongest(texts, maxLength - frameCost(parts));
  const out: number[] = [];
  const types: number[] = [];
  for (const part of parts) {
    const piece = part.text ? texts[part.text] : [part.id as number];
    for (const id of piece) out.push(id);
    for (let i = 0; i < piece.length; i++) types.push(part.type);
  }
  const cut = before - texts.A.length - texts.B.length;
  return { ids: Int32Array.from(out), typeIds: Int32Array.from(types), cut };
}

/** `longest_first` of the tokenizers library (`utils/truncation.rs`): the longer text keeps what the shorter leaves. */
function cutLongest(texts: { A: number[]; B: number[] }, room: number): void {
  if (room < 0)
    throw new RankineError(
      'data/too-long',
      'The maximal length leaves no room for the special tokens.',
      'Raise it.',
    );
  let a = texts.A.length;
  let b = texts.B.length;
  if (a + b <= room) return;
  const shorter = Math.min(a, b);
  if (shorter * 2 <= room) [a, b] = a > b ? [room - b, b] : [a, room - a];
  else [a, b] = a > b ? [Math.ceil(room / 2), room >> 1] : [room >> 1, Math.ceil(room / 2)];
  texts.A.length = a;
  texts.B.length = b;
}

/** A piece is read in the context of the piece before it: no merge reaches further than that in practice. */
function encodePieces(raw: Raw, pieces: readonly string[]): Int32Array[] {
  let context = '';
  // The first piece stands alone, so its ids serve again as the head of the second's context.
  let alone: number[] | undefined;
  return pieces.map((piece) => {
    if (piece === '') return new Int32Array(0);
    const ids = context === '' ? raw(piece) : continuation(raw, context, piece, alone);
    alone = context === '' ? ids : undefined;
    context = piece;
    return Int32Array.from(ids);
  });
}

function continuation(raw: Raw, context: string, piece: string, contextIds = raw(context)): number[] {
  for (const left of [context, ...ANCHORS]) {
    const head = left === context ? contextIds : raw(left);
    const both = raw(left + piece);
    if (startsWith(both, head)) return both.slice(head.length);
  }
  return raw(piece);
}

/** Contexts that keep SentencePiece from putting its dummy space before a piece in the middle of a text. */
const ANCHORS = ['\n', '\u0001'];

function startsWith(list: readonly number[], head: readonly number[]): boolean {
  return list.length >= head.length && head.every((id, i) => id === list[i]);
}

function ids(parts: readonly FramePart[]): number[] {
  return parts.flatMap((part) => (part.id === undefined ? [] : [part.id]));
}

function specialTexts(config: Record<string, unknown>): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    if (!key.endsWith('_token')) continue;
    const content = typeof value === 'object' && value ? (value as { content?: unknown }).content : value;
    if (typeof content === 'string') texts[key] = content;
  }
  return texts;
}

function specialIds(texts: Record<string, string>, idOf: (token: string) => number | undefined): SpecialIds {
  const id = (name: string) => (texts[name] === undefined ? undefined : idOf(texts[name]));
  return { bos: id('bos_token'), eos: id('eos_token'), pad: id('pad_token'), unk: id('unk_token') };
}

function vocabularySize(library: Library): number {
  let size = 0;
  for (const id of library.get_vocab().values()) size = Math.max(size, id + 1);
  return size;
}
