import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine, type Engine } from '../engine/index.ts';
import { add, input, linear, matmul, mul, type NDArray, program, reshape, zeros } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import type { ModelConfig } from './config.ts';
import { type BaseLayer, type LayerHook, traceContext } from './context.ts';
import { createDecoder } from './decoder.ts';
import { type GenerateOptions, generate, generateStream } from './generate.ts';
import { createModel, type Model } from './model.ts';
import { argmax } from './sample.ts';

const VOCABULARY = 67;
const base = {
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: VOCABULARY,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  // Wide enough that the tokens' ranks are clear, and repeated texts do not set in at once.
  initializer_range: 0.3,
};
const configs: Record<string, ModelConfig> = {
  llama: { ...base, model_type: 'llama', num_key_value_heads: 2 },
  'llama, tied': { ...base, model_type: 'llama', num_key_value_heads: 1, tie_word_embeddings: true },
  'mistral, window 12': { ...base, model_type: 'mistral', num_key_value_heads: 2, sliding_window: 12 },
  gpt2: {
    model_type: 'gpt2',
    n_embd: 32,
    n_head: 4,
    n_layer: 4,
    n_positions: 512,
    vocab_size: VOCABULARY,
    // The tied head prefers the token just read unless the blocks say much.
    initializer_range: 1,
  },
  'gpt_neo, window 12': {
    model_type: 'gpt_neo',
    hidden_size: 32,
    num_heads: 4,
    num_layers: 2,
    attention_types: [[['global', 'local'], 1]],
    window_size: 12,
    max_position_embeddings: 512,
    vocab_size: VOCABULARY,
    initializer_range: 0.3,
  },
  qwen3: { ...base, model_type: 'qwen3', num_key_value_heads: 2, head_dim: 16, tie_word_embeddings: true },
};

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

const model = (config: ModelConfig, seed = 1): Model => createModel(config, 'language-modelling', seed);

function prompt(length: number, seed: number): number[] {
  const cursor = random(seed, 'prompt').cursor();
  return Array.from({ length }, () => cursor.integer(VOCABULARY));
}

/** Scores [T, V] of the plain forward without a cache: the reference. */
async function forward(m: Model, length: number, hooks?: ReadonlyMap<string, LayerHook>, feeds = {}) {
  const { architecture } = m;
  const c = traceContext(architecture, { hooks });
  const batch = { ids: input('ids', [1, length], 'int64') };
  let x = architecture.embed(c, batch);
  for (let i = 0; i < architecture.blocks; i++) x = architecture.block(c, i, x, batch);
  const head = architecture.head(c, x, batch);
  if (head.kind !== 'tokens') throw new Error('no vocabulary head');
  const logits = reshape(linear(head.hidden, head.weight, head.bias), [length, VOCABULARY]);
  const executable = await engine.compile(program({ logits }));
  return async (tokens: readonly number[]): Promise<Float32Array> => {
    const padded = BigInt64Array.from({ length }, (_, i) => BigInt(tokens[i] ?? 0));
    const ids: NDArray = { dtype: 'int64', shape: [1, length], data: padded };
    const result = await executable.run({ ...Object.fromEntries(m.weights), ...feeds, ids });
    return (result.logits.data as Float32Array).subarray(
      (tokens.length - 1) * VOCABULARY,
      tokens.length * VOCABULARY,
    );
  };
}

/** Greedy continuation by whole forwards; causal attention does not see the padding behind. */
async function uncached(
  m: Model,
  start: readonly number[],
  count: number,
  hooks?: ReadonlyMap<string, LayerHook>,
  feeds?: Record<string, NDArray>,
) {
  const scores = await forward(m, start.length + count, hooks, feeds);
  const tokens = [...start];
  for (let i = 0; i < count; i++) tokens.push(argmax(await scores(tokens)));
  return tokens.slice(start.length);
}

const ids = async (m: Model, prompts: number[][], options: GenerateOptions) =>
  (await generate(engine, m, prompts, options)).map((c) => c.ids);

describe.each(Object.entries(configs))('%s', (_, config) => {
  it('continues with the cache as without, each row of a batch as alone', async () => {
    const m = model(config);
    const prompts = [prompt(5, 1), prompt(17, 2), prompt(1, 3)];
    const want = await Promise.all(prompts.map((p) => uncached(m, p, 40)));
    expect(new Set(want[0]).size).toBeGreaterThan(5);
    expect(await ids(m, [prompts[0]], { maxNewTokens: 40 })).toEqual([want[0]]);
    expect(await ids(m, prompts, { maxNewTokens: 40 })).toEqual(want);
  });
});

describe('long texts', () => {
  it('reads a prompt longer than a piece, beside a short one', async () => {
    const m = model(configs['mistral, window 12']);
    const prompts = [prompt(300, 4), prompt(3, 5)];
    const want = await Promise.all(prompts.map((p) => uncached(m, p, 10)));
    expect(await ids(m, prompts, { maxNewTokens: 10 })).toEqual(want);
  });

  it('grows its cache without changing the tokens', async () => {
    const m = model(configs.llama);
    const start = prompt(60, 6);
    const want = await uncached(m, start, 80);
    const row = { tokens: [...start], start: 0, filled: 0 };
    const decoder = createDecoder(engine, m, [row], { reserve: 1 });
    const capacities = new Set<number>();
    while (row.tokens.length < 140) {
      row.tokens.push(argmax((await decoder.read([0])).get(0)!));
      capacities.add(decoder.capacity);
    }
    expect(row.tokens.slice(60)).toEqual(want);
    expect([...capacities]).toEqual([64, 128, 256]);
  });

  const small = { ...configs.llama, max_position_embeddings: 20 };

  it('ends where the model ends', async () => {
    const [done] = await generate(engine, model(small), [prompt(12, 7)], { maxNewTokens: 30 });
    expect(done.finish).toBe('context');
    expect(done.ids.length).toBe(8);
  });

  it('slides on: after a full window, the last half is read again', async () => {
    const m = model(small);
    const start = prompt(12, 7);
    const [done] = await generate(engine, m, [start], { maxNewTokens: 16, overflow: 'slide' });
    const first = await uncached(m, start, 9);
    const window = [...start, ...first].slice(-10);
    const second = await uncached(m, window, 7);
    expect(done).toMatchObject({ finish: 'length', ids: [...first, ...second] });
  });

  it('keeps the end of a prompt that is too long where it slides', async () => {
    const m = model(small);
    const long = prompt(47, 8);
    const want = await uncached(m, long.slice(-10), 6);
    expect(await ids(m, [long], { maxNewTokens: 6, overflow: 'slide' })).toEqual([want]);
  });
});

describe('ends and text', () => {
  const decode = (tokens: readonly number[]) => tokens.map((id) => String.fromCharCode(48 + id)).join('');

  it('stops each row at its own token', async () => {
    const m = model(configs.llama);
    const prompts = [prompt(4, 1), prompt(9, 2)];
    const free = await ids(m, prompts, { maxNewTokens: 30 });
    const stop = free[0][6];
    const cut = (tokens: readonly number[]) => {
      const at = tokens.indexOf(stop);
      return at < 0 ? tokens : tokens.slice(0, at + 1);
    };
    const done = await generate(engine, m, prompts, { maxNewTokens: 30, stopIds: [stop], decode });
    expect(done.map((d) => d.ids)).toEqual(free.map(cut));
    expect(done[0].finish).toBe('stop-id');
    expect(done[0].text).toBe(decode(done[0].ids.slice(0, -1)));
  });

  it('stops at a string over two tokens and streams what it returns', async () => {
    const m = model(configs.llama);
    const prompts = [prompt(4, 1), prompt(9, 2)];
    const [free] = await ids(m, prompts, { maxNewTokens: 30 });
    const stopStrings = [decode(free.slice(7, 9))];
    const pieces = generateStream(engine, m, prompts, { maxNewTokens: 30, stopStrings, decode });
    const streamed = ['', ''];
    const finishes: unknown[] = [];
    let next = await pieces.next();
    for (; !next.done; next = await pieces.next()) {
      streamed[next.value.row] += next.value.text;
      if (next.value.finish) finishes[next.value.row] = next.value.finish;
    }
    const done = next.value;
    expect(done[0].text).toBe(decode(free).slice(0, decode(free).indexOf(stopStrings[0])));
    expect(streamed).toEqual(done.map((d) => d.text));
    expect(finishes).toEqual(done.map((d) => d.finish));
    expect(done[0].finish).toBe('stop-string');
  });
});

it('draws the same tokens for one seed, others for another', async () => {
  const m = model(configs.llama);
  const sampled = (seed: number) =>
    ids(m, [prompt(4, 1), prompt(4, 1)], { maxNewTokens: 20, temperature: 1, topP: 0.95, seed });
  const [one, again, other] = [await sampled(1), await sampled(1), await sampled(2)];
  expect(again).toEqual(one);
  expect(other).not.toEqual(one);
  expect(one[0]).not.toEqual(one[1]);
});

describe('an adapter, unmerged', () => {
  const rank = 2;
  const target = 'model.layers.1.self_attn.v_proj';
  const lora: LayerHook = (x, { spec, forward }: BaseLayer) => {
    const [a, b] = [input('a', [rank, spec.in]), input('b', [spec.out, rank])];
    return add(forward(x), mul(matmul(linear(x, a), b, { transB: true }), 0.5));
  };

  it('generates what the adapted forward says', async () => {
    const m = model(configs.llama);
    const hooks = new Map([[target, lora]]);
    const feeds = { a: zeros([rank, 32]), b: zeros([16, rank]) };
    random(1, 'a').fillNormal(feeds.a.data as Float32Array);
    random(1, 'b').fillNormal(feeds.b.data as Float32Array);
    const start = prompt(6, 9);
    const want = await uncached(m, start, 40, hooks, feeds);
    expect(await ids(m, [start], { maxNewTokens: 40, hooks, feeds })).toEqual([want]);
    expect(await ids(m, [start], { maxNewTokens: 40 })).not.toEqual([want]);
  });
});

it.each([
  ['models/prompt', [[]], {}],
  ['models/prompt', [[VOCABULARY]], {}],
  ['models/prompt-length', [prompt(512, 1)], {}],
  ['models/stop-strings', [[1]], { stopStrings: ['x'] }],
  ['models/sampling', [[1]], { topK: 3 }],
  ['models/sampling', [[1]], { maxNewTokens: -1 }],
])('refuses with %s', async (code, prompts, options) => {
  const run = generate(engine, model(configs.llama), prompts, { maxNewTokens: 1, ...options });
  await expect(run).rejects.toMatchObject({ code });
});

it('refuses a model without a vocabulary head', async () => {
  const classifier = createModel({ ...configs.llama, num_labels: 2 }, 'sequence-classification', 1);
  await expect(generate(engine, classifier, [[1]], { maxNewTokens: 1 })).rejects.toMatchObject({
    code: 'models/cannot-generate',
  });
});

it('stops when it is told to', async () => {
  const stop = new AbortController();
  const pieces = generateStream(engine, model(configs.llama), [[1]], {
    maxNewTokens: 9,
    signal: stop.signal,
  });
  await pieces.next();
  stop.abort();
  await expect(pieces.next()).rejects.toThrow(/abort/);
});
