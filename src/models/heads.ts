import {
  cast,
  concat,
  constant,
  div,
  equal,
  fill,
  maximum,
  mean,
  mul,
  not,
  reshape,
  slice,
  sub,
  sum,
  type Tensor,
  unsqueeze,
} from '../graph/index.ts';
import type { BatchInputs, HeadOutput, Task } from './architecture.ts';
import { labelCount, type ModelConfig } from './config.ts';
import type { Context } from './context.ts';
import type { Declarations } from './declare.ts';

/** 1 where there is a token, 0 on padding: [B, T] float; undefined where the batch has no padding. */
export function tokenMask(batch: BatchInputs): Tensor | undefined {
  if (!batch.segments) return undefined;
  const zero = constant({ dtype: 'int64', shape: [], data: BigInt64Array.of(0n) });
  return cast(not(equal(batch.segments, zero)), 'float32');
}

/** Hidden state at one position of every row: [B, T, d] → [B, d]. */
export function tokenAt(hidden: Tensor, position: number): Tensor {
  const [size, , width] = hidden.shape;
  return reshape(slice(hidden, 1, position, position + 1), [size, width]);
}

/** The hidden state of each row's last token, [B, d]: rows are padded on the right. */
export function lastToken(hidden: Tensor, batch: BatchInputs): Tensor {
  const mask = tokenMask(batch);
  const [size, length] = hidden.shape;
  if (!mask) return tokenAt(hidden, length - 1);
  // A token is the last one when no token follows it.
  const following = concat([slice(mask, 1, 1, length), fill([size, 1], 0)], 1);
  return sum(mul(hidden, unsqueeze(sub(mask, following), 2)), 1);
}

/** Mean of the hidden states over the tokens of each row, [B, d]. */
export function meanToken(hidden: Tensor, batch: BatchInputs): Tensor {
  const mask = tokenMask(batch);
  if (!mask) return mean(hidden, 1);
  const weights = unsqueeze(mask, 2);
  return div(sum(mul(hidden, weights), 1), maximum(sum(weights, 1), 1));
}

/** Declares the head of a decoder; without one of its own, the vocabulary head is the embedding. */
export function declareDecoderHead(
  d: Declarations,
  config: ModelConfig,
  task: Task,
  { vocabulary, width, tied }: { vocabulary: number; width: number; tied: boolean },
): void {
  if (task === 'sequence-classification') d.linear('score', labelCount(config), width, { head: true });
  else if (task === 'language-modelling' && !tied) d.linear('lm_head', vocabulary, width);
}

/** The head of a decoder over its normalized hidden states [B, T, d]. */
export function decoderHead(
  c: Context,
  hidden: Tensor,
  batch: BatchInputs,
  task: Task,
  tiedTo: string | undefined,
): HeadOutput {
  if (task === 'embedding') return { kind: 'vectors', vectors: meanToken(hidden, batch) };
  if (task === 'sequence-classification')
    return { kind: 'classes', logits: c.linear('score', lastToken(hidden, batch)) };
  if (c.adapted('lm_head')) return { kind: 'logits', logits: c.linear('lm_head', hidden) };
  return { kind: 'tokens', hidden, weight: c.parameter(`${tiedTo ?? 'lm_head'}.weight`) };
}
