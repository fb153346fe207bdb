import { add, mul, rmsNorm, type Tensor } from '../graph/index.ts';
import { activation } from './activation.ts';
import type { Architecture, BatchInputs, Task } from './architecture.ts';
import { attention, splitHeads } from './attention.ts';
import { fields, type ModelConfig } from './config.ts';
import type { Context } from './context.ts';
import { type Declarations, declarations } from './declare.ts';
import { decoderHead } from './heads.ts';
import { ropeTables, rotate } from './rope.ts';
import { ropeConfig } from './rope-frequencies.ts';

/**
 * The Llama family: llama (SmolLM, TinyLlama, … are llamas), mistral, qwen2, qwen3. Hidden states pass through blocks of
 * attention with grouped keys and rotary positions (arXiv 2104.09864) and a gated feed-forward part, RMS norm before each.
 *
 * @throws RankineError `models/config`, `models/unsupported`, `models/rope-type`, `models/activation`
 */
export function llama(config: ModelConfig, task: Task): Architecture {
  const s = sizes(config, task);
  const head = decoderHead(config, task, { ...s, embedding: `${s.base}embed_tokens` });
  const d = declare(config, s);
  head.declare(d);
  return {
    type: s.type,
    task,
    parameters: d.parameters,
    layers: d.layers,
    blocks: s.blocks,
    maxLength: s.maxLength,
    vocabulary: s.vocabulary,
    cache: { kvHeads: s.kvHeads, headDim: s.headDim },
    embed: (c, batch) => c.embedding(`${s.base}embed_tokens`, batch.ids!),
    block(c, i, x, batch) {
      const at = `${s.base}layers.${i}`;
      const norm = (name: string, h: Tensor) => rmsNorm(h, c.parameter(`${at}.${name}.weight`), s.eps);
      const h = add(x, selfAttention(s, c, i, norm('input_layernorm', x), batch));
      return add(h, feedForward(s, c, `${at}.mlp`, norm('post_attention_layernorm', h)));
    },
    head: (c, x, batch) => head.apply(c, rmsNorm(x, c.parameter(`${s.base}norm.weight`), s.eps), batch),
  };
}

type Sizes = ReturnType<typeof sizes>;

function sizes(config: ModelConfig, task: Task) {
  const f = fields(config);
  const type = f.text('model_type', 'llama');
  const width = f.count('hidden_size');
  const heads = f.count('num_attention_heads');
  const qwen2 = type === 'qwen2';
  const bias = type !== 'mistral' && f.flag('attention_bias', false);
  // Qwen3 has a fixed width of heads, the others divide the model's.
  const headDim = f.count('head_dim', type === 'qwen3' ? 128 : width / heads);
  const rope = ropeConfig(config, headDim);
  return {
    type,
    base: task === 'embedding' ? '' : 'model.',
    width,
    inner: f.count('intermediate_size'),
    blocks: f.count('num_hidden_layers'),
    vocabulary: f.count('vocab_size'),
    heads,
    kvHeads: f.count('num_key_value_heads', type === 'mistral' ? 8 : heads),
    headDim,
    eps: f.number('rms_norm_eps', 1e-6),
    tied: f.flag('tie_word_embeddings', false),
    qkvBias: qwen2 || bias,
    outputBias: !qwen2 && bias,
    mlpBias: type === 'llama' && f.flag('mlp_bias', false),
    qkNorm: type === 'qwen3',
    act: activation(f.text('hidden_act', 'silu')),
    dropout: f.number('attention_dropout', 0),
    window: windows(config, type),
    tables: ropeTables(rope),
    maxLength: rope.maxLength,
  };
}

/** Positions seen back by each block, or undefined for all. */
function windows(config: ModelConfig, type: string): (block: number) => number | undefined {
  if (type === 'llama' || config.sliding_window === null) return () => undefined;
  const f = fields(config);
  const window = f.count('sliding_window', 4096);
  if (type === 'mistral') return () => window;
  if (!f.flag('use_sliding_window', false)) return () => undefined;
  const types = f.texts('layer_types');
  const first = f.number('max_window_layers', 28);
  return (block) => ((types ? types[block] === 'sliding_attention' : block >= first) ? window : undefined);
}

function declare(config: ModelConfig, s: Sizes): Declarations {
  const d = declarations(fields(config).number('initializer_range', 0.02));
  d.embedding(`${s.base}embed_tokens`, s.vocabulary, s.width);
  for (let i = 0; i < s.blocks; i++) declareBlock(d, s, i);
  d.rmsNorm(`${s.base}norm`, s.width);
  return d;
}

function declareBlock(d: Declarations, s: Sizes, block: number): void {
  const at = `${s.base}layers.${block}`;
  const linear = (name: string, out: number, inputs: number, bias: boolean) =>
    d.linear(`${at}.${name}`, out, inputs, { bias, block });
  linear('self_attn.q_proj', s.heads * s.headDim, s.width, s.qkvBias);
  linear('self_attn.k_proj', s.kvHeads * s.headDim, s.width, s.qkvBias);
  linear('self_attn.v_proj', s.kvHeads * s.headDim, s.width, s.qkvBias);
  linear('self_attn.o_proj', s.width, s.heads * s.headDim, s.outputBias);
  if (s.qkNorm) for (const n of ['q', 'k']) d.rmsNorm(`${at}.self_attn.${n}_norm`, s.headDim);
  linear('mlp.gate_proj', s.inner, s.width, s.mlpBias);
  linear('mlp.up_proj', s.inner, s.width, s.mlpBias);
  linear('mlp.down_proj', s.width, s.inner, s.mlpBias);
  d.rmsNorm(`${at}.input_layernorm`, s.width);
  d.rmsNorm(`${at}.post_attention_layernorm`, s.width);
}

function selfAttention(s: Sizes, c: Context, block: number, x: Tensor, batch: BatchInputs): Tensor {
  const at = `${s.base}layers.${block}.self_attn`;
  const project = (name: string, heads: number) => splitHeads(c.linear(`${at}.${name}_proj`, x), heads);
  const table = s.tables(x.shape[1], batch.positions);
  const turned = (name: 'q' | 'k', heads: number) => {
    const y = project(name, heads);
    return rotate(s.qkNorm ? rmsNorm(y, c.parameter(`${at}.${name}_norm.weight`), s.eps) : y, table);
  };
  const y = attention(c, turned('q', s.heads), turned('k', s.kvHeads), project('v', s.kvHeads), batch, {
    block,
    heads: s.heads,
    kvHeads: s.kvHeads,
    headDim: s.headDim,
    scale: s.headDim ** -0.5,
    causal: true,
    window: s.window(block),
    dropout: s.dropout,
  });
  return c.linear(`${at}.o_proj`, y);
}

function feedForward(s: Sizes, c: Context, at: string, x: Tensor): Tensor {
  return c.linear(
    `${at}.down_proj`,
    mul(s.act(c.linear(`${at}.gate_proj`, x)), c.linear(`${at}.up_proj`, x)),
  );
}
