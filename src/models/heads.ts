import type { Tensor } from '../graph/index.ts';
import type { BatchInputs, HeadOutput, Task } from './architecture.ts';
import { labelCount, type ModelConfig } from './config.ts';
import type { Context } from './context.ts';
import type { Declarations } from './declare.ts';
import { sentenceVectors } from './pooling.ts';
import { lastToken } from './tokens.ts';

/** A decoder's head: over the vocabulary (its own or the embedding), over classes, or none where vectors are wanted. */
export interface DecoderHead {
  declare(d: Declarations): void;
  /** @param hidden normalized hidden states, [B, T, d] */
  apply(c: Context, hidden: Tensor, batch: BatchInputs): HeadOutput;
}

/** @param embedding name of the embedding layer, which is the vocabulary head of tied models */
export function decoderHead(
  config: ModelConfig,
  task: Task,
  s: { vocabulary: number; width: number; tied: boolean; embedding: string },
): DecoderHead {
  if (task === 'embedding')
    return { declare: () => {}, apply: (_, hidden, batch) => sentenceVectors(hidden, batch, config) };
  if (task === 'sequence-classification')
    return {
      declare: (d) => d.linear('score', labelCount(config), s.width, { head: true }),
      apply: (c, hidden, batch) => ({
        kind: 'classes',
        logits: c.linear('score', lastToken(hidden, batch)),
      }),
    };
  const weight = `${s.tied ? s.embedding : 'lm_head'}.weight`;
  return {
    declare: (d) => (s.tied ? undefined : d.linear('lm_head', s.vocabulary, s.width)),
    apply(c, hidden) {
      if (c.adapted('lm_head')) return { kind: 'logits', logits: c.linear('lm_head', hidden) };
      return { kind: 'tokens', hidden, weight: c.parameter(weight) };
    },
  };
}
