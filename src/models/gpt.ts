import { add, type Tensor } from '../graph/index.ts';
import type { Architecture, BatchInputs, Task } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import type { Context } from './context.ts';
import { type Declarations, declarations } from './declare.ts';
import { decoderHead } from './heads.ts';
import { namedLayerNorm, positionIds } from './positions.ts';

/** Sizes and settings that GPT-2 and GPT-Neo name differently. */
export interface GptSizes {
  /** Prefix of the base model's names, with its dot. */
  readonly base: string;
  readonly width: number;
  readonly heads: number;
  readonly inner: number;
  readonly blocks: number;
  readonly positions: number;
  readonly vocabulary: number;
  readonly eps: number;
  readonly std: number;
  readonly tied: boolean;
  readonly act: (x: Tensor) => Tensor;
  readonly dropout: { readonly embedding: number; readonly attention: number; readonly residual: number };
}

/** What the two do differently. */
export interface GptParts {
  readonly type: string;
  /** Whether linear layers are stored as in×out (`Conv1D`). */
  readonly transposed: boolean;
  /** Standard deviation of fresh layers that write to the residual stream. */
  readonly residualStd: number;
  declareAttention(d: Declarations, block: number): void;
  /** Normalized hidden states → what is added to the stream, before dropout. */
  attend(c: Context, block: number, x: Tensor, batch: BatchInputs): Tensor;
}

/** A decoder with learned positions and layer norm before attention and feed-forward part. */
export function gptDecoder(config: ModelConfig, task: Task, s: GptSizes, parts: GptParts): Architecture {
  const head = decoderHead(config, task, { ...s, embedding: `${s.base}wte` });
  const d = declare(s, parts);
  head.declare(d);
  return {
    type: parts.type,
    task,
    parameters: d.parameters,
    layers: d.layers,
    blocks: s.blocks,
    maxLength: s.positions,
    vocabulary: s.vocabulary,
    cache: { kvHeads: s.heads, headDim: s.width / s.heads },
    embed(c, batch) {
      const x = add(c.embedding(`${s.base}wte`, batch.ids!), c.embedding(`${s.base}wpe`, positionIds(batch)));
      return c.dropout(x, s.dropout.embedding, 'embedding');
    },
    block(c, i, x, batch) {
      const norm = (name: string, h: Tensor) => namedLayerNorm(c, `${s.base}h.${i}.${name}`, h, s.eps);
      const attended = parts.attend(c, i, norm('ln_1', x), batch);
      const h = add(x, c.dropout(attended, s.dropout.residual, `residual.${i}.attention`));
      const fed = feedForward(s, c, `${s.base}h.${i}.mlp`, norm('ln_2', h));
      return add(h, c.dropout(fed, s.dropout.residual, `residual.${i}.mlp`));
    },
    head: (c, x, batch) => head.apply(c, namedLayerNorm(c, `${s.base}ln_f`, x, s.eps), batch),
  };
}

function declare(s: GptSizes, parts: GptParts): Declarations {
  const d = declarations(s.std);
  d.embedding(`${s.base}wte`, s.vocabulary, s.width);
  d.embedding(`${s.base}wpe`, s.positions, s.width);
  for (let block = 0; block < s.blocks; block++) {
    const at = `${s.base}h.${block}`;
    const options = { bias: true, transposed: parts.transposed, block };
    d.layerNorm(`${at}.ln_1`, s.width);
    parts.declareAttention(d, block);
    d.layerNorm(`${at}.ln_2`, s.width);
    d.linear(`${at}.mlp.c_fc`, s.inner, s.width, options);
    d.linear(`${at}.mlp.c_proj`, s.width, s.inner, { ...options, std: parts.residualStd });
  }
  d.layerNorm(`${s.base}ln_f`, s.width);
  return d;
}

function feedForward(s: GptSizes, c: Context, at: string, x: Tensor): Tensor {
  return c.linear(`${at}.c_proj`, s.act(c.linear(`${at}.c_fc`, x)));
}
