import { activation } from './activation.ts';
import type { Architecture, Task } from './architecture.ts';
import { attention, splitJoint } from './attention.ts';
import { fields, type ModelConfig, refuse } from './config.ts';
import { type GptSizes, gptDecoder } from './gpt.ts';

/**
 * GPT-2. Its linear layers (`Conv1D`) are stored as in×out, queries, keys and values in one.
 * @throws RankineError `models/config`, `models/unsupported`, `models/activation`
 */
export function gpt2(config: ModelConfig, task: Task): Architecture {
  refuse(config, 'add_cross_attention', config.add_cross_attention === true);
  const s = sizes(config, task);
  const scale = attentionScale(config, s);
  // Layers that write to the residual stream start smaller, by the root of their number (GPT-2, section 2.3).
  const residualStd = s.std / Math.sqrt(2 * s.blocks);
  return gptDecoder(config, task, s, {
    type: 'gpt2',
    transposed: true,
    residualStd,
    declareAttention(d, block) {
      const at = `${s.base}h.${block}.attn`;
      const options = { bias: true, transposed: true, block };
      d.linear(`${at}.c_attn`, 3 * s.width, s.width, options);
      d.linear(`${at}.c_proj`, s.width, s.width, { ...options, std: residualStd });
    },
    attend(c, block, x, batch) {
      const at = `${s.base}h.${block}.attn`;
      const [q, k, v] = splitJoint(c.linear(`${at}.c_attn`, x), 3, s.heads);
      const y = attention(c, q, k, v, batch, {
        block,
        heads: s.heads,
        kvHeads: s.heads,
        headDim: s.width / s.heads,
        scale: scale(block),
        causal: true,
        dropout: s.dropout.attention,
      });
      return c.linear(`${at}.c_proj`, y);
    },
  });
}

function sizes(config: ModelConfig, task: Task): GptSizes {
  const f = fields(config);
  const width = f.count('n_embd', 768);
  return {
    base: task === 'embedding' ? '' : 'transformer.',
    width,
    heads: f.count('n_head', 12),
    inner: f.count('n_inner', 4 * width),
    blocks: f.count('n_layer', 12),
    positions: f.count('n_positions', 1024),
    vocabulary: f.count('vocab_size', 50_257),
    eps: f.number('layer_norm_epsilon', 1e-5),
    std: f.number('initializer_range', 0.02),
    tied: f.flag('tie_word_embeddings', true),
    act: activation(f.text('activation_function', 'gelu_new')),
    dropout: {
      embedding: f.number('embd_pdrop', 0.1),
      attention: f.number('attn_pdrop', 0.1),
      residual: f.number('resid_pdrop', 0.1),
    },
  };
}

function attentionScale(config: ModelConfig, s: GptSizes): (block: number) => number {
  const f = fields(config);
  const scale = f.flag('scale_attn_weights', true) ? (s.width / s.heads) ** -0.5 : 1;
  const byDepth = f.flag('scale_attn_by_inverse_layer_idx', false);
  return (block) => (byDepth ? scale / (block + 1) : scale);
}
