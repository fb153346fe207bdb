import { RankineError } from '../errors.ts';
import { activation } from './activation.ts';
import type { Architecture, Task } from './architecture.ts';
import { projectedAttention } from './attention.ts';
import { fields, type ModelConfig } from './config.ts';
import { type GptSizes, gptDecoder } from './gpt.ts';

/**
 * GPT-Neo: as GPT-2, with blocks of global and of local attention (a window of positions) and unscaled scores.
 * @throws RankineError `models/config`, `models/activation`
 */
export function gptNeo(config: ModelConfig, task: Task): Architecture {
  const s = sizes(config, task);
  const kinds = attentionKinds(config, s.blocks);
  const window = fields(config).count('window_size', 256);
  return gptDecoder(config, task, s, {
    type: 'gpt_neo',
    transposed: false,
    residualStd: s.std,
    declareAttention(d, block) {
      const at = `${s.base}h.${block}.attn.attention`;
      for (const n of ['k', 'v', 'q']) d.linear(`${at}.${n}_proj`, s.width, s.width, { block });
      d.linear(`${at}.out_proj`, s.width, s.width, { bias: true, block });
    },
    attend(c, block, x, batch) {
      const at = `${s.base}h.${block}.attn.attention`;
      const y = projectedAttention(c, x, batch, [`${at}.q_proj`, `${at}.k_proj`, `${at}.v_proj`], {
        block,
        heads: s.heads,
        kvHeads: s.heads,
        headDim: s.width / s.heads,
        scale: 1,
        causal: true,
        window: kinds[block] === 'local' ? window : undefined,
        dropout: s.dropout.attention,
      });
      return c.linear(`${at}.out_proj`, y);
    },
  });
}

function sizes(config: ModelConfig, task: Task): GptSizes {
  const f = fields(config);
  const width = f.count('hidden_size', 2048);
  return {
    base: task === 'embedding' ? '' : 'transformer.',
    width,
    heads: f.count('num_heads', 16),
    inner: f.count('intermediate_size', 4 * width),
    blocks: f.count('num_layers', 24),
    positions: f.count('max_position_embeddings', 2048),
    vocabulary: f.count('vocab_size', 50_257),
    eps: f.number('layer_norm_epsilon', 1e-5),
    std: f.number('initializer_range', 0.02),
    tied: f.flag('tie_word_embeddings', true),
    act: activation(f.text('activation_function', 'gelu_new')),
    dropout: {
      embedding: f.number('embed_dropout', 0),
      attention: f.number('attention_dropout', 0),
      residual: f.number('resid_dropout', 0),
    },
  };
}

/** `attention_types` is a list of [kinds, repetitions], by default [[["global", "local"], 12]]. */
function attentionKinds(config: ModelConfig, blocks: number): string[] {
  const types = config.attention_types ?? [[['global', 'local'], 12]];
  const kinds = (types as [string[], number][]).flatMap(([names, times]) =>
    Array.from({ length: times }, () => names).flat(),
  );
  if (kinds.length === blocks && kinds.every((kind) => kind === 'global' || kind === 'local')) return kinds;
  throw new RankineError(
    'models/config',
    `attention_types ${JSON.stringify(types)} does not give each of the ${blocks} blocks "global" or "local".`,
    'Give the config.json that was published with the weights.',
  );
}
