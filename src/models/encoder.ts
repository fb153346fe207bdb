import { add, type Tensor } from '../graph/index.ts';
import { activation } from './activation.ts';
import type { Architecture, BatchInputs, HeadOutput, Task } from './architecture.ts';
import { projectedAttention } from './attention.ts';
import { fields, type ModelConfig, refuse } from './config.ts';
import type { Context } from './context.ts';
import { type Declarations, declarations } from './declare.ts';
import { namedLayerNorm, positionIds, typeIds } from './positions.ts';

type EncoderSizes = ReturnType<typeof encoderSizes>;

/**
 * @param base          prefix of the base model's names, with its dot
 * @param firstPosition row of position 0 in the table of positions
 */
export function encoderSizes(config: ModelConfig, base: string, firstPosition: number) {
  refuse(config, 'position_embedding_type', (config.position_embedding_type ?? 'absolute') !== 'absolute');
  refuse(config, 'is_decoder', config.is_decoder === true);
  const f = fields(config);
  return {
    base,
    firstPosition,
    width: f.count('hidden_size', 768),
    heads: f.count('num_attention_heads', 12),
    inner: f.count('intermediate_size', 3072),
    blocks: f.count('num_hidden_layers', 12),
    positions: f.count('max_position_embeddings', 512),
    vocabulary: f.count('vocab_size'),
    types: f.count('type_vocab_size', 2),
    eps: f.number('layer_norm_eps', 1e-12),
    std: f.number('initializer_range', 0.02),
    act: activation(f.text('hidden_act', 'gelu')),
    dropout: f.number('hidden_dropout_prob', 0.1),
    attentionDropout: f.number('attention_probs_dropout_prob', 0.1),
  };
}

/** Probability of dropout before the classifier. */
export function classifierDropout(config: ModelConfig): number {
  const f = fields(config);
  return f.number('classifier_dropout', f.number('hidden_dropout_prob', 0.1));
}

export interface EncoderHead {
  declare(d: Declarations): void;
  /** @param hidden hidden states, [B, T, d] */
  apply(c: Context, hidden: Tensor, batch: BatchInputs): HeadOutput;
}

/** BERT's encoder: sums of word, position and sentence embeddings, layer norm behind attention and feed-forward part. */
export function encoder(type: string, task: Task, s: EncoderSizes, head: EncoderHead): Architecture {
  const d = declare(s);
  head.declare(d);
  return {
    type,
    task,
    parameters: d.parameters,
    layers: d.layers,
    blocks: s.blocks,
    maxLength: s.positions - s.firstPosition,
    vocabulary: s.vocabulary,
    embed: (c, batch) => embed(s, c, batch),
    block: (c, i, x, batch) => block(s, c, i, x, batch),
    head: (c, x, batch) => head.apply(c, x, batch),
  };
}

function declare(s: EncoderSizes): Declarations {
  const d = declarations(s.std);
  d.embedding(`${s.base}embeddings.word_embeddings`, s.vocabulary, s.width);
  d.embedding(`${s.base}embeddings.position_embeddings`, s.positions, s.width);
  d.embedding(`${s.base}embeddings.token_type_embeddings`, s.types, s.width);
  d.layerNorm(`${s.base}embeddings.LayerNorm`, s.width);
  for (let i = 0; i < s.blocks; i++) declareBlock(d, s, i);
  return d;
}

function declareBlock(d: Declarations, s: EncoderSizes, block: number): void {
  const at = `${s.base}encoder.layer.${block}`;
  const linear = (name: string, out: number, inputs: number) =>
    d.linear(`${at}.${name}`, out, inputs, { bias: true, block });
  for (const name of ['query', 'key', 'value']) linear(`attention.self.${name}`, s.width, s.width);
  linear('attention.output.dense', s.width, s.width);
  d.layerNorm(`${at}.attention.output.LayerNorm`, s.width);
  linear('intermediate.dense', s.inner, s.width);
  linear('output.dense', s.width, s.inner);
  d.layerNorm(`${at}.output.LayerNorm`, s.width);
}

function embed(s: EncoderSizes, c: Context, batch: BatchInputs): Tensor {
  const at = `${s.base}embeddings`;
  const words = c.embedding(`${at}.word_embeddings`, batch.ids!);
  const types = c.embedding(`${at}.token_type_embeddings`, typeIds(batch));
  const positions = c.embedding(`${at}.position_embeddings`, positionIds(batch, s.firstPosition));
  const x = namedLayerNorm(c, `${at}.LayerNorm`, add(add(words, types), positions), s.eps);
  return c.dropout(x, s.dropout, 'embedding');
}

function block(s: EncoderSizes, c: Context, index: number, x: Tensor, batch: BatchInputs): Tensor {
  const at = `${s.base}encoder.layer.${index}`;
  /** Linear layer, dropout, sum with what came in, layer norm. */
  const output = (name: string, y: Tensor, residual: Tensor) => {
    const dropped = c.dropout(c.linear(`${at}.${name}.dense`, y), s.dropout, `${name}.${index}`);
    return namedLayerNorm(c, `${at}.${name}.LayerNorm`, add(dropped, residual), s.eps);
  };
  const self = `${at}.attention.self`;
  const attended = projectedAttention(c, x, batch, [`${self}.query`, `${self}.key`, `${self}.value`], {
    block: index,
    heads: s.heads,
    kvHeads: s.heads,
    headDim: s.width / s.heads,
    scale: (s.width / s.heads) ** -0.5,
    causal: false,
    dropout: s.attentionDropout,
  });
  const h = output('attention.output', attended, x);
  return output('output', s.act(c.linear(`${at}.intermediate.dense`, h)), h);
}
