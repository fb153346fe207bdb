import { tanh } from '../graph/index.ts';
import type { Architecture, Task } from './architecture.ts';
import { fields, labelCount, type ModelConfig } from './config.ts';
import { classifierDropout, type EncoderHead, encoder, encoderSizes } from './encoder.ts';
import { sentenceVectors } from './pooling.ts';
import { tokenAt } from './tokens.ts';

/**
 * RoBERTa: BERT whose positions start behind the padding id, with a head of two layers.
 * @throws RankineError `models/config`, `models/unsupported`, `models/activation`
 */
export function roberta(config: ModelConfig, task: Task): Architecture {
  const firstPosition = fields(config).number('pad_token_id', 1) + 1;
  const s = encoderSizes(config, task === 'embedding' ? '' : 'roberta.', firstPosition);
  const head: EncoderHead = {
    declare(d) {
      if (task === 'embedding') return;
      d.linear('classifier.dense', s.width, s.width, { bias: true, head: true });
      d.linear('classifier.out_proj', labelCount(config), s.width, { bias: true, head: true });
    },
    apply(c, hidden, batch) {
      if (task === 'embedding') return sentenceVectors(hidden, batch, config);
      const p = classifierDropout(config);
      const x = c.dropout(tokenAt(hidden, 0), p, 'classifier.in');
      const y = c.dropout(tanh(c.linear('classifier.dense', x)), p, 'classifier.out');
      return { kind: 'classes', logits: c.linear('classifier.out_proj', y) };
    },
  };
  return encoder('roberta', task, s, head);
}
