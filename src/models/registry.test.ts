import { describe, expect, it } from 'vitest';
import { architectureOf, knownArchitectures, type ModelConfig, type Task } from './index.ts';

const TEXT = {
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 32,
};
const LLAMA = { model_type: 'llama', ...TEXT };

describe('architectureOf', () => {
  it.each<[ModelConfig, Task]>([
    [{ ...LLAMA, architectures: ['LlamaForCausalLM'] }, 'language-modelling'],
    [{ ...LLAMA, architectures: ['LlamaForSequenceClassification'] }, 'sequence-classification'],
    [{ ...LLAMA, architectures: ['LlamaModel'] }, 'embedding'],
    [LLAMA, 'language-modelling'],
    [{ model_type: 'gpt2', architectures: ['GPT2LMHeadModel'] }, 'language-modelling'],
    [{ ...TEXT, model_type: 'bert', architectures: ['BertModel'] }, 'embedding'],
    [{ ...TEXT, model_type: 'bert', architectures: ['BertForMaskedLM'] }, 'embedding'],
    [
      { ...TEXT, model_type: 'roberta', architectures: ['RobertaForSequenceClassification'] },
      'sequence-classification',
    ],
    [{ model_type: 'vit', architectures: ['ViTForImageClassification'] }, 'image-classification'],
    [{ model_type: 'vit', architectures: ['ViTModel'] }, 'image-classification'],
  ])('takes the task from the class: %o', (config, task) => {
    expect(architectureOf(config).task).toBe(task);
  });

  it('refuses an architecture that it does not have, and names those that it has', () => {
    const build = () => architectureOf({ model_type: 'mamba' });
    expect(build).toThrow(expect.objectContaining({ code: 'models/unknown-architecture' }));
    expect(build).toThrow(/"mamba".*llama, mistral, qwen2, qwen3, gpt2, gpt_neo, bert, roberta, vit/);
    expect(knownArchitectures()).toHaveLength(9);
  });

  it.each<[string, ModelConfig, Task | undefined, string]>([
    ['a task of others', { ...TEXT, model_type: 'bert' }, 'language-modelling', 'models/task'],
    ['a missing field', { model_type: 'llama', hidden_size: 16 }, undefined, 'models/config'],
    ['a field of another type', { ...LLAMA, hidden_size: '16' }, undefined, 'models/config'],
    ['heads that do not divide the width', { ...LLAMA, num_attention_heads: 3 }, undefined, 'models/config'],
    ['an activation', { ...LLAMA, hidden_act: 'mish' }, undefined, 'models/activation'],
    ['a rope type', { ...LLAMA, rope_scaling: { type: 'longrope' } }, undefined, 'models/rope-type'],
    [
      'rope scaling without its factor',
      { ...LLAMA, rope_scaling: { type: 'linear' } },
      undefined,
      'models/config',
    ],
    ['partly turned heads', { ...LLAMA, partial_rotary_factor: 0.5 }, undefined, 'models/unsupported'],
    [
      'relative positions',
      { ...TEXT, model_type: 'bert', position_embedding_type: 'relative_key' },
      undefined,
      'models/unsupported',
    ],
    ['cross attention', { model_type: 'gpt2', add_cross_attention: true }, undefined, 'models/unsupported'],
    ['kinds of attention', { model_type: 'gpt_neo', num_layers: 3 }, undefined, 'models/config'],
  ])('refuses %s', (_, config, task, code) => {
    expect(() => architectureOf(config, task)).toThrow(expect.objectContaining({ code }));
  });

  it('stretches the length with linear and dynamic rope only', () => {
    const length = (rope_scaling: unknown) =>
      architectureOf({ ...LLAMA, max_position_embeddings: 100, rope_scaling }).maxLength;
    expect(length(null)).toBe(100);
    expect(length({ type: 'linear', factor: 2.5 })).toBe(250);
    expect(length({ rope_type: 'yarn', factor: 4, original_max_position_embeddings: 25 })).toBe(100);
  });

  it("keeps RoBERTa's positions behind the padding id", () => {
    const config = { ...TEXT, model_type: 'roberta', pad_token_id: 1, max_position_embeddings: 514 };
    expect(architectureOf(config).maxLength).toBe(512);
  });
});
