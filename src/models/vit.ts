import { RankineError } from '../errors.ts';
import { add, concat, expand, reshape, type Tensor, transpose } from '../graph/index.ts';
import { activation } from './activation.ts';
import type { Architecture, Task } from './architecture.ts';
import { projectedAttention } from './attention.ts';
import { fields, labelCount, type ModelConfig } from './config.ts';
import type { Context } from './context.ts';
import { type Declarations, declarations } from './declare.ts';
import { namedLayerNorm } from './positions.ts';
import { tokenAt } from './tokens.ts';

const EMBEDDINGS = 'vit.embeddings';

/**
 * Vision Transformer (arXiv 2010.11929): patches become tokens, a class token is put before them and classified.
 * @throws RankineError `models/config`, `models/activation`; `models/image-size` while tracing a batch of other images
 */
export function vit(config: ModelConfig, task: Task): Architecture {
  const s = sizes(config);
  const d = declare(config, s);
  return {
    type: 'vit',
    task,
    parameters: d.parameters,
    layers: d.layers,
    blocks: s.blocks,
    image: { channels: s.channels, height: s.image[0], width: s.image[1], tokens: patchCount(s) + 1 },
    embed: (c, batch) => embed(s, c, batch.pixels!),
    block: (c, i, x) => block(s, c, i, x),
    head(c, x) {
      const hidden = namedLayerNorm(c, 'vit.layernorm', x, s.eps);
      return { kind: 'classes', logits: c.linear('classifier', tokenAt(hidden, 0)) };
    },
  };
}

type Sizes = ReturnType<typeof sizes>;
type Pair = readonly [rows: number, columns: number];

function sizes(config: ModelConfig) {
  const f = fields(config);
  return {
    width: f.count('hidden_size', 768),
    heads: f.count('num_attention_heads', 12),
    inner: f.count('intermediate_size', 3072),
    blocks: f.count('num_hidden_layers', 12),
    channels: f.count('num_channels', 3),
    image: pair(config, 'image_size', 224),
    patch: pair(config, 'patch_size', 16),
    eps: f.number('layer_norm_eps', 1e-12),
    std: f.number('initializer_range', 0.02),
    qkvBias: f.flag('qkv_bias', true),
    act: activation(f.text('hidden_act', 'gelu')),
    dropout: f.number('hidden_dropout_prob', 0),
    attentionDropout: f.number('attention_probs_dropout_prob', 0),
  };
}

/** A size of rows and columns, which a single number may stand for. */
function pair(config: ModelConfig, key: string, fallback: number): Pair {
  const value = config[key];
  if (Array.isArray(value) && value.length === 2) return [Number(value[0]), Number(value[1])];
  const side = fields(config).count(key, fallback);
  return [side, side];
}

function patchCount({ image, patch }: Sizes): number {
  return Math.floor(image[0] / patch[0]) * Math.floor(image[1] / patch[1]);
}

function declare(config: ModelConfig, s: Sizes): Declarations {
  const d = declarations(s.std);
  d.tensor(`${EMBEDDINGS}.cls_token`, [1, 1, s.width]);
  d.tensor(`${EMBEDDINGS}.position_embeddings`, [1, patchCount(s) + 1, s.width]);
  d.conv2d(`${EMBEDDINGS}.patch_embeddings.projection`, s.width, s.channels, s.patch);
  for (let i = 0; i < s.blocks; i++) declareBlock(d, s, i);
  d.layerNorm('vit.layernorm', s.width);
  d.linear('classifier', labelCount(config), s.width, { bias: true, head: true });
  return d;
}

function declareBlock(d: Declarations, s: Sizes, block: number): void {
  const at = `vit.encoder.layer.${block}`;
  const linear = (name: string, out: number, inputs: number, bias = true) =>
    d.linear(`${at}.${name}`, out, inputs, { bias, block });
  for (const name of ['query', 'key', 'value'])
    linear(`attention.attention.${name}`, s.width, s.width, s.qkvBias);
  linear('attention.output.dense', s.width, s.width);
  linear('intermediate.dense', s.inner, s.width);
  linear('output.dense', s.width, s.inner);
  d.layerNorm(`${at}.layernorm_before`, s.width);
  d.layerNorm(`${at}.layernorm_after`, s.width);
}

/** Images [B, channels, rows, columns] → [B, 1 + patches, d]. */
function embed(s: Sizes, c: Context, pixels: Tensor): Tensor {
  const [size, channels, rows, columns] = pixels.shape;
  if (channels !== s.channels || rows !== s.image[0] || columns !== s.image[1])
    throw new RankineError(
      'models/image-size',
      `The images have ${channels} channels of ${rows}×${columns}, but this model takes ${s.channels} of ${s.image.join('×')}.`,
      "Resize them as the model's preprocessor_config.json says.",
    );
  const grid = c.conv2d(`${EMBEDDINGS}.patch_embeddings.projection`, pixels, {
    stride: [s.patch[0], s.patch[1]],
  });
  const patches = transpose(reshape(grid, [size, s.width, -1]), [0, 2, 1]);
  const first = expand(c.parameter(`${EMBEDDINGS}.cls_token`), [size, 1, s.width]);
  const x = add(concat([first, patches], 1), c.parameter(`${EMBEDDINGS}.position_embeddings`));
  return c.dropout(x, s.dropout, 'embedding');
}

function block(s: Sizes, c: Context, index: number, x: Tensor): Tensor {
  const at = `vit.encoder.layer.${index}`;
  const norm = (name: string, h: Tensor) => namedLayerNorm(c, `${at}.${name}`, h, s.eps);
  const output = (name: string, y: Tensor) =>
    c.dropout(c.linear(`${at}.${name}.dense`, y), s.dropout, `${name}.${index}`);
  const self = `${at}.attention.attention`;
  const names = [`${self}.query`, `${self}.key`, `${self}.value`] as const;
  const attended = projectedAttention(c, norm('layernorm_before', x), {}, names, {
    block: index,
    heads: s.heads,
    kvHeads: s.heads,
    headDim: s.width / s.heads,
    scale: (s.width / s.heads) ** -0.5,
    causal: false,
    dropout: s.attentionDropout,
  });
  const h = add(x, output('attention.output', attended));
  const inner = s.act(c.linear(`${at}.intermediate.dense`, norm('layernorm_after', h)));
  return add(h, output('output', inner));
}
