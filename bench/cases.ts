/** What is timed, here and in PyTorch: shapes of real models with random weights. */
export interface BenchCase {
  readonly config: Record<string, unknown> & { vocab_size: number };
  readonly batch: readonly [rows: number, length: number];
  readonly adapter?: { method: string; options: Record<string, unknown> };
}

const gpt2 = {
  model_type: 'gpt2',
  vocab_size: 50257,
  n_positions: 1024,
  n_embd: 768,
  n_layer: 12,
  n_head: 12,
  activation_function: 'gelu_new',
  layer_norm_epsilon: 1e-5,
  embd_pdrop: 0,
  attn_pdrop: 0,
  resid_pdrop: 0,
};

const smollm = {
  model_type: 'llama',
  vocab_size: 49152,
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
};

const small = {
  model_type: 'llama',
  vocab_size: 512,
  hidden_size: 256,
  intermediate_size: 688,
  num_hidden_layers: 4,
  num_attention_heads: 8,
  num_key_value_heads: 8,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  tie_word_embeddings: false,
};

const base = {
  ...small,
  vocab_size: 2048,
  num_hidden_layers: 5,
  num_key_value_heads: 4,
  tie_word_embeddings: true,
};

export const cases: Record<string, BenchCase> = {
  'gpt2-lora': {
    config: gpt2,
    batch: [4, 128],
    adapter: { method: 'lora', options: { rank: 8, alpha: 16, targets: ['c_attn'] } },
  },
  'gpt2-full': { config: gpt2, batch: [4, 128] },
  'smollm-lora': {
    config: smollm,
    batch: [2, 256],
    adapter: { method: 'lora', options: { rank: 16, alpha: 32, targets: 'all-linear' } },
  },
  'small-full': { config: small, batch: [16, 64] },
  'quickstart-full': { config: base, batch: [16, 256] },
  'quickstart-lora': {
    config: base,
    batch: [64, 48],
    adapter: { method: 'lora', options: { rank: 16, alpha: 32, targets: 'all-linear' } },
  },
};
