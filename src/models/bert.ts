import { tanh } from '../graph/index.ts';
import type { Architecture, Task } from './architecture.ts';
import { labelCount, type ModelConfig } from './config.ts';
import { classifierDropout, type EncoderHead, encoder, encoderSizes } from './encoder.ts';
import { sentenceVectors } from './pooling.ts';
import { tokenAt } from './tokens.ts';

/**
 * BERT, for sequence classification (over the pooled first token) or for sentence vectors.
 * @throws RankineError `models/config`, `models/unsupported`, `models/activation`
 */
export function bert(config: ModelConfig, task: Task): Architecture {
  const s = encoderSizes(config, task === 'embedding' ? '' : 'bert.', 0);
  const head: EncoderHead = {
    declare(d) {
      if (task === 'embedding') return;
      d.linear(`${s.base}pooler.dense`, s.width, s.width, { bias: true, head: true });
      d.linear('classifier', labelCount(config), s.width, { bias: true, head: true });
    },
    apply(c, hidden, batch) {
      if (task === 'embedding') return sentenceVectors(hidden, batch, config);
      const pooled = tanh(c.linear(`${s.base}pooler.dense`, tokenAt(hidden, 0)));
      const dropped = c.dropout(pooled, classifierDropout(config), 'classifier');
      return { kind: 'classes', logits: c.linear('classifier', dropped) };
    },
  };
  return encoder('bert', task, s, head);
}
