import { describe, expect, it } from 'vitest';
import { architectureOf, modelInfo } from './index.ts';

describe('modelInfo', () => {
  it('counts GPT-2 small, whose head is its embedding', () => {
    const info = modelInfo(architectureOf({ model_type: 'gpt2' }));
    expect(info.parameters).toBe(124_439_808);
    expect(info.groups).toEqual([
      { name: 'embeddings', parameters: 39_383_808 },
      { name: 'blocks', parameters: 85_054_464 },
      { name: 'norm', parameters: 1536 },
    ]);
    expect(info.layers.map(({ target, out, in: inputs, count }) => [target, out, inputs, count])).toEqual([
      ['wte', 50257, 768, 1],
      ['wpe', 1024, 768, 1],
      ['c_attn', 2304, 768, 12],
      ['attn.c_proj', 768, 768, 12],
      ['c_fc', 3072, 768, 12],
      ['mlp.c_proj', 768, 3072, 12],
    ]);
  });

  it('counts SmolLM2-135M', () => {
    const info = modelInfo(
      architectureOf({
        model_type: 'llama',
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 30,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        vocab_size: 49152,
        max_position_embeddings: 8192,
        tie_word_embeddings: true,
      }),
    );
    expect(info.parameters).toBe(134_515_008);
    expect(info.layers.map((layer) => layer.target)).toEqual(
      'embed_tokens q_proj k_proj v_proj o_proj gate_proj up_proj down_proj'.split(' '),
    );
  });

  it('counts a ViT-Tiny and its convolution', () => {
    const info = modelInfo(
      architectureOf({
        model_type: 'vit',
        hidden_size: 192,
        intermediate_size: 768,
        num_attention_heads: 3,
        num_labels: 1000,
      }),
    );
    expect(info.parameters).toBe(5_717_416);
    expect(info.layers[0]).toMatchObject({ target: 'projection', kind: 'conv2d', out: 192, in: 3, count: 1 });
    expect(info.layers.map((layer) => layer.target)).toContain('attention.output.dense');
    expect(info.groups.at(-1)).toEqual({ name: 'head', parameters: 193_000 });
  });
});
