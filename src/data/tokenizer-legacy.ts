import { RankineError } from '../errors.ts';
import type { AddedToken, TokenizerJson } from './tokenizer-files.ts';

/** What stands beside the vocabulary in an older folder. */
export interface LegacyFiles {
  readonly config: Record<string, unknown>;
  /** `added_tokens.json`: token to id. */
  readonly added?: Record<string, unknown>;
  /** `model_type` of `config.json`. */
  readonly modelType?: unknown;
}

interface Legacy {
  readonly json: TokenizerJson;
  /** Special tokens that the Python class knows without a file. */
  readonly defaults: Record<string, unknown>;
}

/**
 * Builds `tokenizer.json` for byte-level BPE as transformers' slow-to-fast conversion does
 * (`convert_slow_tokenizer.py`, GPT2Converter and RobertaConverter).
 */
export function robertaOrGpt2Tokenizer(
  vocab: Record<string, number>,
  merges: string,
  files: LegacyFiles,
): Legacy {
  const roberta = files.modelType === 'roberta' || /Roberta/.test(String(files.config.tokenizer_class));
  const defaults = roberta ? ROBERTA_SPECIALS : GPT2_SPECIALS;
  const addPrefixSpace = files.config.add_prefix_space === true;
  const cls = [defaults.bos_token, vocab[defaults.bos_token]];
  const sep = [defaults.eos_token, vocab[defaults.eos_token]];
  const json = {
    version: '1.0',
    added_tokens: addedTokens(vocab, files, Object.values(defaults)),
    normalizer: null,
    pre_tokenizer: {
      type: 'ByteLevel',
      add_prefix_space: addPrefixSpace,
      trim_offsets: true,
      use_regex: true,
    },
    post_processor: roberta
      ? { type: 'RobertaProcessing', cls, sep, trim_offsets: true, add_prefix_space: addPrefixSpace }
      : { type: 'ByteLevel', add_prefix_space: addPrefixSpace, trim_offsets: false, use_regex: true },
    decoder: { type: 'ByteLevel', add_prefix_space: addPrefixSpace, trim_offsets: true, use_regex: true },
    model: { ...BPE_MODEL, vocab, merges: mergeLines(merges) },
  };
  return { json, defaults };
}

/** Builds `tokenizer.json` for WordPiece (`convert_slow_tokenizer.py`, BertConverter). */
export function bertTokenizer(words: string, files: LegacyFiles): Legacy {
  const lines = words.replace(/\r?\n$/, '').split(/\r?\n/);
  const vocab = Object.fromEntries(lines.map((word, id) => [word, id]));
  for (const token of Object.values(BERT_SPECIALS))
    if (vocab[token] === undefined)
      throw new RankineError(
        'data/no-tokenizer',
        `vocab.txt lacks ${token}.`,
        'Use the vocabulary of a BERT.',
      );
  const lowercase = files.config.do_lower_case !== false;
  const json = {
    version: '1.0',
    added_tokens: addedTokens(vocab, files, Object.values(BERT_SPECIALS)),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: files.config.tokenize_chinese_chars !== false,
      strip_accents: files.config.strip_accents ?? null,
      lowercase,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'BertProcessing',
      sep: [BERT_SPECIALS.sep_token, vocab[BERT_SPECIALS.sep_token]],
      cls: [BERT_SPECIALS.cls_token, vocab[BERT_SPECIALS.cls_token]],
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: BERT_SPECIALS.unk_token,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    },
  };
  return { json, defaults: BERT_SPECIALS };
}

const GPT2_SPECIALS = {
  bos_token: '<|endoftext|>',
  eos_token: '<|endoftext|>',
  unk_token: '<|endoftext|>',
};

const ROBERTA_SPECIALS = {
  bos_token: '<s>',
  eos_token: '</s>',
  unk_token: '<unk>',
  pad_token: '<pad>',
  mask_token: '<mask>',
};

const BERT_SPECIALS = {
  unk_token: '[UNK]',
  sep_token: '[SEP]',
  pad_token: '[PAD]',
  cls_token: '[CLS]',
  mask_token: '[MASK]',
};

const BPE_MODEL = {
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: '',
  end_of_word_suffix: '',
  fuse_unk: false,
  byte_fallback: false,
};

function mergeLines(merges: string): [string, string][] {
  const pairs: [string, string][] = [];
  for (const [i, line] of merges.split(/\r?\n/).entries()) {
    // Only a first line may be the version comment: "# #" itself is a merge in some vocabularies.
    if (line === '' || (i === 0 && line.startsWith('#version'))) continue;
    const parts = line.split(' ');
    if (parts.length !== 2)
      throw new RankineError(
        'data/no-tokenizer',
        `merges.txt, line ${i + 1}: expected two tokens, found "${line}".`,
      );
    pairs.push([parts[0], parts[1]]);
  }
  return pairs;
}

function addedTokens(vocab: Record<string, number>, files: LegacyFiles, specials: string[]): AddedToken[] {
  const tokens = new Map<number, AddedToken>();
  for (const content of new Set(specials))
    if (vocab[content] !== undefined) tokens.set(vocab[content], plain(vocab[content], content, true));
  for (const [content, id] of Object.entries(files.added ?? {}))
    tokens.set(Number(id), plain(Number(id), content, specials.includes(content)));
  for (const [id, token] of Object.entries(files.config.added_tokens_decoder ?? {}))
    tokens.set(Number(id), { ...plain(Number(id), '', false), ...(token as Partial<AddedToken>) });
  return [...tokens.values()].sort((a, b) => a.id - b.id);
}

function plain(id: number, content: string, special: boolean): AddedToken {
  // RoBERTa's mask swallows the space before it, as its Python class declares.
  const lstrip = content === '<mask>';
  return { id, content, special, single_word: false, lstrip, rstrip: false, normalized: false };
}
