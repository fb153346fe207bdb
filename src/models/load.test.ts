import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { checkpointFrom, lazyTensors, writeCheckpoint } from '../formats/index.ts';
import { array, type NDArray, zeros } from '../graph/array.ts';
import { architectureOf, createModel, loadModel, type ModelConfig, modelFrom, type Task } from './index.ts';

const LLAMA: ModelConfig = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  vocab_size: 32,
};
const BERT: ModelConfig = { ...LLAMA, model_type: 'bert', architectures: ['BertForSequenceClassification'] };
const GPT2: ModelConfig = {
  model_type: 'gpt2',
  n_embd: 16,
  n_layer: 1,
  n_head: 2,
  n_positions: 8,
  vocab_size: 32,
};

const folder = mkdtempSync(join(tmpdir(), 'rankine-models-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Fresh weights of a model, as a checkpoint would hold them. */
function weightsOf(config: ModelConfig, task?: Task): Record<string, NDArray> {
  return Object.fromEntries(createModel(config, task, 7).weights);
}

function renamed(
  weights: Record<string, NDArray>,
  rename: (name: string) => string,
): Record<string, NDArray> {
  return Object.fromEntries(Object.entries(weights).map(([name, a]) => [rename(name), a]));
}

function load(
  config: ModelConfig,
  weights: Record<string, NDArray>,
  options: Parameters<typeof modelFrom>[1] = {},
) {
  return modelFrom(checkpointFrom('test', { config: { ...config }, tensors: lazyTensors(weights) }), options);
}

describe('loading', () => {
  it('reads a folder', async () => {
    const path = join(folder, 'llama');
    const weights = weightsOf(LLAMA);
    await writeCheckpoint(path, { ...LLAMA }, lazyTensors(weights));
    const model = await loadModel(path);
    expect(model.folder).toBe(path);
    expect(model.notices).toEqual([]);
    expect([...model.weights.keys()]).toEqual([...model.architecture.parameters.keys()]);
    for (const [name, value] of model.weights) expect(value.data, name).toEqual(weights[name].data);
  });

  it('takes a base checkpoint without its prefix into a model with a head, and the reverse', async () => {
    const weights = weightsOf(GPT2, 'language-modelling');
    const base = renamed(weights, (name) => name.replace('transformer.', ''));
    const withHead = await load(GPT2, base);
    expect(withHead.notices).toEqual([]);
    expect(withHead.weights.get('transformer.wte.weight')).toBe(weights['transformer.wte.weight']);
    const vectors = await load(GPT2, weights, { task: 'embedding' });
    expect(vectors.weights.get('h.0.ln_1.weight')).toBe(weights['transformer.h.0.ln_1.weight']);
  });

  it('draws a missing classification head anew and says so', async () => {
    const base = renamed(weightsOf(BERT, 'embedding'), (name) => name);
    const model = await load(BERT, base, { labels: ['no', 'maybe', 'yes'], seed: 3 });
    expect(model.notices).toEqual([
      expect.stringMatching(/^Freshly drawn.*bert\.pooler\.dense\.weight.*classifier\.weight/),
    ]);
    expect(model.fresh).toEqual(
      ['bert.pooler.dense', 'classifier'].flatMap((layer) => [`${layer}.weight`, `${layer}.bias`]),
    );
    expect(model.weights.get('classifier.weight')?.shape).toEqual([3, 16]);
    expect(model.config.id2label).toEqual({ 0: 'no', 1: 'maybe', 2: 'yes' });
    expect(model.config.label2id).toEqual({ no: 0, maybe: 1, yes: 2 });
    const again = await load(BERT, base, { labels: 3, seed: 3 });
    expect(again.weights.get('classifier.weight')).toEqual(model.weights.get('classifier.weight'));
  });

  it('draws a head of other classes anew only where classes were asked for', async () => {
    const weights = weightsOf({ ...BERT, num_labels: 2 });
    expect((await load(BERT, weights, { labels: 2 })).notices).toEqual([]);
    const model = await load(BERT, weights, { labels: 5 });
    expect(model.notices).toEqual([expect.stringContaining('classifier.weight, classifier.bias')]);
    await expect(load({ ...BERT, num_labels: 5 }, weights)).rejects.toMatchObject({
      code: 'formats/tensor-shape',
    });
  });

  it('draws the output layer of as many other classes anew, but not where nobody named them', async () => {
    const named = (names: readonly string[]) => ({ ...BERT, id2label: Object.fromEntries(names.entries()) });
    const weights = weightsOf(BERT);
    const labels = ['bad', 'good'];
    const other = await load(named(['no', 'yes']), weights, { labels });
    expect(other.fresh).toEqual(['classifier.weight', 'classifier.bias']);
    for (const known of [['LABEL_0', 'LABEL_1'], labels])
      expect((await load(named(known), weights, { labels })).fresh).toEqual([]);
    expect((await load(named(['no', 'yes']), weights, { labels: 2 })).fresh).toEqual([]);
  });

  it('names a missing tensor, a wrong shape, and what it does not use', async () => {
    const { 'model.norm.weight': norm, ...rest } = weightsOf(LLAMA);
    await expect(load(LLAMA, rest)).rejects.toMatchObject({
      code: 'formats/missing-tensor',
      message: expect.stringContaining('model.norm.weight'),
    });
    await expect(load(LLAMA, { ...rest, 'model.norm.weight': zeros([8]) })).rejects.toMatchObject({
      code: 'formats/tensor-shape',
      message: expect.stringMatching(/model\.norm\.weight.*\[8\].*\[16\]/),
    });
    const model = await load(LLAMA, { ...rest, 'model.norm.weight': norm, 'cls.extra': zeros([1]) });
    expect(model.notices).toEqual(['Not used for language-modelling: cls.extra.']);
  });

  it('refuses quantized weights and impossible classes', async () => {
    const quantized = { ...LLAMA, quantization_config: { quant_method: 'gptq' } };
    await expect(load(quantized, {})).rejects.toMatchObject({
      code: 'models/quantized',
      message: expect.stringContaining('gptq'),
    });
    for (const labels of [0, -1, 1.5, [], ['a', 'b', 'a']])
      await expect(load(BERT, weightsOf(BERT), { labels })).rejects.toMatchObject({ code: 'models/labels' });
  });

  it('passes over buffers', async () => {
    const buffers = {
      'transformer.h.0.attn.bias': zeros([1, 1, 8, 8]),
      'transformer.h.0.attn.masked_bias': zeros([]),
      'model.layers.0.self_attn.rotary_emb.inv_freq': zeros([4]),
      'bert.embeddings.position_ids': zeros([1, 8], 'int64'),
    };
    expect((await load(GPT2, { ...weightsOf(GPT2), ...buffers })).notices).toEqual([]);
  });

  it("reads the first BERT checkpoints' gamma and beta", async () => {
    const old = renamed(weightsOf(BERT), (name) =>
      name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta'),
    );
    const model = await load(BERT, old);
    expect(model.notices).toEqual([]);
    expect(model.weights.has('bert.embeddings.LayerNorm.weight')).toBe(true);
  });

  it('takes a stored head that equals the tied embedding, and believes one that differs', async () => {
    const tied = { ...LLAMA, tie_word_embeddings: true };
    const weights = weightsOf(tied);
    const embedding = weights['model.embed_tokens.weight'];
    const same = await load(tied, { ...weights, 'lm_head.weight': embedding });
    expect(same.notices).toEqual([]);
    expect(same.weights.has('lm_head.weight')).toBe(false);
    const other = { ...embedding, data: Float32Array.from(embedding.data as Float32Array, (x) => x + 1) };
    const untied = await load(tied, { ...weights, 'lm_head.weight': other });
    expect(untied.weights.get('lm_head.weight')).toBe(other);
    expect(untied.config.tie_word_embeddings).toBe(false);
    expect(untied.notices).toEqual([expect.stringContaining('not tied')]);
  });

  it('follows the modules of a sentence-transformers folder', async () => {
    const path = join(folder, 'sentence');
    await writeCheckpoint(
      path,
      { ...BERT, architectures: ['BertModel'] },
      lazyTensors(weightsOf(BERT, 'embedding')),
    );
    await mkdir(join(path, '1_Pooling'));
    const module = (name: string, at: string) => ({ type: `sentence_transformers.models.${name}`, path: at });
    const write = (file: string, value: unknown) => writeFileSync(join(path, file), JSON.stringify(value));
    write('1_Pooling/config.json', { pooling_mode_cls_token: true, pooling_mode_mean_tokens: false });
    const modules = [module('Transformer', ''), module('Pooling', '1_Pooling')];
    write('modules.json', modules);
    expect((await loadModel(path)).config.sentence_embedding).toEqual({ pooling: 'cls', normalize: false });
    write('1_Pooling/config.json', { pooling_mode: 'lasttoken' });
    write('modules.json', [...modules, module('Normalize', '2_Normalize')]);
    expect((await loadModel(path)).config.sentence_embedding).toEqual({ pooling: 'last', normalize: true });
    write('1_Pooling/config.json', { pooling_mode: 'max' });
    await expect(loadModel(path)).rejects.toMatchObject({ code: 'models/pooling' });
    write('modules.json', [...modules, module('Dense', '2_Dense')]);
    await expect(loadModel(path)).rejects.toMatchObject({ code: 'models/sentence-modules' });
  });
});

describe('createModel', () => {
  it('draws as the configuration says, the same for the same seed', () => {
    const model = createModel({ ...GPT2, n_embd: 64, initializer_range: 0.1 }, undefined, 1);
    const deviation = (name: string) => {
      const { data } = model.weights.get(name)!;
      return Math.sqrt((data as Float32Array).reduce((total, x) => total + x * x, 0) / data.length);
    };
    expect(deviation('transformer.h.0.attn.c_attn.weight')).toBeCloseTo(0.1, 2);
    expect(deviation('transformer.h.0.mlp.c_proj.weight')).toBeCloseTo(0.1 / Math.sqrt(2), 2);
    expect(model.weights.get('transformer.ln_f.weight')).toEqual(array(new Array(64).fill(1), [64]));
    expect(model.weights.get('transformer.ln_f.bias')).toEqual(zeros([64]));
    const drawn = (seed: number) => createModel(GPT2, undefined, seed).weights;
    expect(drawn(5)).toEqual(drawn(5));
    expect(drawn(5).get('transformer.wte.weight')).not.toEqual(drawn(6).get('transformer.wte.weight'));
  });

  it('draws no parameter differently because of others', () => {
    const more = createModel({ ...LLAMA, num_hidden_layers: 2 }, undefined, 5).weights;
    for (const [name, value] of createModel(LLAMA, undefined, 5).weights)
      expect(more.get(name)).toEqual(value);
    expect(architectureOf(LLAMA).blocks).toBe(1);
  });
});
