import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';
import { describe, expect, test } from 'vitest';
import { readMaybeGzip, realData } from '../../tests/data.ts';
import type { NDArray } from '../graph/array.ts';
import { bytesSource } from './byte-source.ts';
import { checkpointFrom } from './checkpoint.ts';
import { readLlama2c } from './llama2c.ts';
import { type Llama2cPiece, llama2cTokenizer, readLlama2cVocabulary } from './llama2c-tokenizer.ts';
import { convertMinGpt, decodeMinGptTensor } from './mingpt.ts';
import { openSafetensors } from './safetensors.ts';
import { encodeSafetensors } from './safetensors-write.ts';
import { convertTimmViT } from './timm-vit.ts';

const version0 = realData('models/stories260K.bin');
const llama2ts = realData('models/tinystories_260k_v1.bin');
const vocabularyFile = realData('models/tok512.bin');

describe.skipIf(!version0 || !llama2ts)('llama2.c', () => {
  const read = (path: string) => readLlama2c(path, new Uint8Array(readFileSync(path)));

  test('both forms of the same checkpoint give the same configuration and tensors', async () => {
    const [a, b] = [version0!, llama2ts!].map(read);
    expect(a.config).toMatchObject({ hidden_size: 64, num_key_value_heads: 4, tie_word_embeddings: true });
    expect(b.config).toEqual(a.config);
    expect(a.tensors).toHaveLength(2 + 5 * 9);
    const byName = new Map(b.tensors.map((t) => [t.name, t]));
    for (const tensor of a.tensors)
      expect(await byName.get(tensor.name)!.read()).toEqual(await tensor.read());
  });

  test('query rows are those of the file, pairs put half a head apart', async () => {
    const model = checkpointFrom('stories', read(version0!));
    model.expect('model.layers.0.self_attn.k_proj.weight', [32, 64]);
    const query = (await model.read('model.layers.0.self_attn.q_proj.weight')).data;
    const bytes = readFileSync(version0!);
    // After 7 integers: embedding (512 × 64), then 5 norms of 64, then the queries, head size 8.
    const start = 28 + 4 * (512 * 64 + 5 * 64);
    const original = (row: number, column: number) => bytes.readFloatLE(start + 4 * (row * 64 + column));
    for (const [target, source] of [
      [0, 0],
      [4, 1],
      [1, 2],
      [7, 7],
      [8, 8],
      [12, 9],
    ])
      expect(query[target * 64 + 5]).toBe(original(source, 5));
  });

  test('a cut file is refused', () => {
    const bytes = new Uint8Array(readFileSync(version0!));
    expect(() => readLlama2c('cut', bytes.subarray(0, 5000))).toThrow(
      expect.objectContaining({ code: 'formats/truncated' }),
    );
  });
});

test.each([
  ['text', new TextEncoder().encode('this is not a model but a few words of text')],
  ['nothing', new Uint8Array(3)],
])('%s is no llama2.c checkpoint', (_, bytes) => {
  expect(() => readLlama2c('x', bytes)).toThrow(expect.objectContaining({ code: 'formats/unknown-format' }));
});

/** SentencePiece's rule, as llama2.c has it: from single characters, merge the neighbours whose union scores best. */
function greedyEncode(pieces: Llama2cPiece[], text: string): number[] {
  const ids = new Map(pieces.map((piece, id) => [piece.text, id]));
  const bytesOf = (c: string) => [...new TextEncoder().encode(c)].map((byte) => byte + 3);
  const tokens = [...` ${text}`].flatMap((c) => (ids.has(c) ? [ids.get(c)!] : bytesOf(c)));
  for (;;) {
    let best = -1;
    let bestScore = Number.NEGATIVE_INFINITY;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const merged = ids.get(pieces[tokens[i]].text + pieces[tokens[i + 1]].text);
      if (merged === undefined || pieces[merged].score <= bestScore) continue;
      best = i;
      bestScore = pieces[merged].score;
    }
    if (best < 0) return [1, ...tokens];
    tokens.splice(best, 2, ids.get(pieces[tokens[best]].text + pieces[tokens[best + 1]].text)!);
  }
}

describe.skipIf(!vocabularyFile)('the vocabulary of llama2.c as tokenizer.json', () => {
  const pieces = vocabularyFile
    ? readLlama2cVocabulary('tok512', new Uint8Array(readFileSync(vocabularyFile)), 512)
    : [];
  const { tokenizer: json, config } = llama2cTokenizer(pieces);
  const tokenizer = new Tokenizer(json, config);

  test.each([
    'Once upon a time, there was a little girl named Lily.',
    'She said: "Don\'t worry!"\n\n  Two  spaces, and a tab\tthere.',
    'café 日本語 🎉 — ™',
    'aaaaaaaa thethethe ing ing',
    'Zebras & xylophones (1234567890)',
  ])('%o: ids of the greedy merge, and the text back', (text) => {
    const { ids } = tokenizer.encode(text);
    expect(ids).toEqual(greedyEncode(pieces, text));
    expect(tokenizer.decode(ids, { skip_special_tokens: true })).toBe(text);
  });

  const shakespeare = realData('text/tinyshakespeare.txt.gz');
  test.skipIf(!shakespeare)('the first 200 lines of Shakespeare', () => {
    const lines = readMaybeGzip(shakespeare!).toString().split('\n').slice(0, 200).filter(Boolean);
    for (const line of lines) expect(tokenizer.encode(line).ids, line).toEqual(greedyEncode(pieces, line));
  });

  test('a cut vocabulary is refused', () => {
    const bytes = new Uint8Array(readFileSync(vocabularyFile!));
    expect(() => readLlama2cVocabulary('cut', bytes.subarray(0, 100), 512)).toThrow(
      expect.objectContaining({ code: 'formats/truncated' }),
    );
  });
});

const nano = realData('models/gpt-nano-sort-model.json.gz');
const partials = realData('models/gpt-nano-sort-t0-partials.json.gz');

describe.skipIf(!nano || !partials)('minGPT', () => {
  const parse = (path: string) => JSON.parse(readMaybeGzip(path).toString());

  test('its layers give the activations that PyTorch stored', async () => {
    const model = checkpointFrom('nano', convertMinGpt('nano', parse(nano!)));
    expect(model.config).toMatchObject({ n_layer: 3, n_head: 3, n_embd: 48, vocab_size: 3, n_positions: 11 });
    expect(model.names().some((name) => name.endsWith('.attn.bias'))).toBe(false);
    const stored = (name: string) => decodeMinGptTensor('partials', name, parse(partials!)[name]);
    const qkv = product(stored('ln1'), await model.read('transformer.h.0.attn.c_attn.weight'));
    const bias = (await model.read('transformer.h.0.attn.c_attn.bias')).data;
    expect(
      largestDifference(
        qkv.map((v, i) => v + Number(bias[i % 144])),
        stored('qkv'),
      ),
    ).toBeLessThan(1e-5);
    // The head stays [out, in].
    const head = await model.read('lm_head.weight');
    expect(head.shape).toEqual([3, 48]);
  });

  test('a tensor with too few bytes is refused', () => {
    const json = { config: { n_head: 3 }, w: { shape: [9], dtype: 'torch.float32', data: 'AAAA' } };
    expect(() => convertMinGpt('x', json)).toThrow(expect.objectContaining({ code: 'formats/tensor-shape' }));
    expect(() => convertMinGpt('x', {})).toThrow(expect.objectContaining({ code: 'formats/unknown-format' }));
  });
});

/** x W for x [..., k] and W [k, n]. */
function product(x: NDArray, w: NDArray): number[] {
  const [k, n] = w.shape;
  const rows = x.data.length / k;
  return Array.from({ length: rows * n }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < k; j++)
      sum += Number(x.data[Math.floor(i / n) * k + j]) * Number(w.data[j * n + (i % n)]);
    return sum;
  });
}

function largestDifference(values: number[], expected: NDArray): number {
  expect(values).toHaveLength(expected.data.length);
  return Math.max(...values.map((v, i) => Math.abs(v - Number(expected.data[i]))));
}

const vit = realData('models/vit_tiny_patch16_224.safetensors');

test.skipIf(!vit)('a Vision Transformer of timm: names, shapes and the split projection', async () => {
  const file = await openSafetensors(bytesSource('vit', new Uint8Array(readFileSync(vit!))));
  const model = checkpointFrom('vit', convertTimmViT(file));
  expect(model.config).toMatchObject({
    hidden_size: 192,
    num_attention_heads: 3,
    image_size: 224,
    num_labels: 1000,
  });
  expect(model.names()).toHaveLength(152 + 12 * 4);
  model.expect('vit.encoder.layer.11.attention.attention.value.weight', [192, 192]);
  model.expect('classifier.weight', [1000, 192]);
  const fused = (await file.read('blocks.3.attn.qkv.bias')).data;
  const key = (await model.read('vit.encoder.layer.3.attention.attention.key.bias')).data;
  expect(key).toEqual(fused.slice(192, 384));
});

test('a tensor that a plain ViT does not have is named', async () => {
  const tensor: NDArray = { dtype: 'float32', shape: [1], data: new Float32Array(1) };
  const file = await openSafetensors(bytesSource('deit', await encodeSafetensors({ dist_token: tensor })));
  expect(() => convertTimmViT(file)).toThrow(
    expect.objectContaining({
      code: 'formats/unknown-format',
      message: expect.stringContaining('dist_token'),
    }),
  );
});
