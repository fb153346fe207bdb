/**
 * Trains the tokenizer of the quickstart's base model and writes its `tokenizer.json`, `tokenizer_config.json`
 * and `config.json`.
 *
 *     npx tsx scripts/quickstart/train-bpe.ts CORPUS [BASE]
 *
 * CORPUS is the folder that corpus.ts wrote; BASE defaults to `quickstart/base`.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { RankineError } from '../../src/errors.ts';
import { type Bpe, countWords, DIGIT, trainBpe } from './bpe.ts';

const VOCABULARY = 2048;
/** Ids 0, 1, 2, as in the Llama family's own order but for the padding in place of the unknown. */
const SPECIAL_TOKENS = ['<pad>', '<s>', '</s>'] as const;
const [PAD, BOS, EOS] = SPECIAL_TOKENS;

/** The model: 5 layers of 256, grouped keys, tied embeddings; {@link parameterCount} parameters. */
const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: VOCABULARY,
  hidden_size: 256,
  intermediate_size: 688,
  num_hidden_layers: 5,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 32,
  hidden_act: 'silu',
  max_position_embeddings: 512,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  attention_bias: false,
  mlp_bias: false,
  attention_dropout: 0,
  tie_word_embeddings: true,
  initializer_range: 0.02,
  use_cache: true,
  pad_token_id: 0,
  bos_token_id: 1,
  eos_token_id: 2,
  torch_dtype: 'float16',
};

/** Parameters of a Llama configuration with tied embeddings. */
export function parameterCount(config: typeof CONFIG): number {
  const { hidden_size: hidden, head_dim, intermediate_size: inner } = config;
  const queries = config.num_attention_heads * head_dim;
  const keys = config.num_key_value_heads * head_dim;
  const attention = 2 * hidden * queries + 2 * hidden * keys;
  const block = attention + 3 * hidden * inner + 2 * hidden;
  return config.vocab_size * hidden + config.num_hidden_layers * block + hidden;
}

const special = (content: string, id: number) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

/** Hugging Face's tokenizer.json: digits one by one, GPT-2 words and bytes, `<s>` in front when special tokens are asked for. */
export function tokenizerJson({ tokens, merges }: Bpe): object {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const vocabulary = [...SPECIAL_TOKENS, ...tokens];
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map(special),
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      // Not the `Digits` pre-tokenizer: its digits are ASCII in JavaScript, every Unicode numeral in Rust.
      pretokenizers: [
        { type: 'Split', pattern: { Regex: DIGIT }, behavior: 'Isolated', invert: false },
        byteLevel,
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: BOS, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        { SpecialToken: { id: BOS, type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: { [BOS]: { id: BOS, ids: [SPECIAL_TOKENS.indexOf(BOS)], tokens: [BOS] } },
    },
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges: merges.map((pair) => pair.join(' ')),
    },
  };
}

const TOKENIZER_CONFIG = {
  tokenizer_class: 'PreTrainedTokenizerFast',
  bos_token: BOS,
  eos_token: EOS,
  pad_token: PAD,
  padding_side: 'right',
  model_max_length: CONFIG.max_position_embeddings,
  clean_up_tokenization_spaces: false,
};

function readTexts(path: string): string[] {
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  return lines.map((line) => (JSON.parse(line) as { text: string }).text);
}

function main(corpus: string | undefined, base: string): void {
  if (!corpus)
    throw new RankineError(
      'quickstart/usage',
      'No corpus folder was given.',
      'Usage: train-bpe.ts CORPUS [BASE]',
    );
  const texts = readTexts(join(corpus, 'train.jsonl'));
  const bpe = trainBpe(countWords(texts), VOCABULARY - SPECIAL_TOKENS.length);
  mkdirSync(base, { recursive: true });
  const write = (name: string, value: object) =>
    writeFileSync(join(base, name), `${JSON.stringify(value, null, 1)}\n`);
  write('tokenizer.json', tokenizerJson(bpe));
  write('tokenizer_config.json', TOKENIZER_CONFIG);
  write('config.json', CONFIG);
  console.log(`training text: ${bpe.length} tokens and ${texts.length} document ends`);
  console.log(`model: ${parameterCount(CONFIG)} parameters, ${2 * parameterCount(CONFIG)} bytes as float16`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(process.argv[2], process.argv[3] ?? new URL('../../quickstart/base', import.meta.url).pathname);
}
