import { RankineError } from '../errors.ts';
import { crossEntropy, linearCrossEntropy, reshape, type Tensor } from '../graph/index.ts';
import type { HeadOutput } from '../models/architecture.ts';

/** Weighted cross-entropy of what a head gives: next tokens or classes. */
export function supervisedLoss(output: HeadOutput, targets: Tensor, weights: Tensor): Tensor {
  switch (output.kind) {
    case 'tokens': {
      const [rows, length, width] = output.hidden.shape;
      const hidden = reshape(output.hidden, [rows * length, width]);
      return linearCrossEntropy(hidden, output.weight, targets, weights, { bias: output.bias });
    }
    case 'logits': {
      const [rows, length, vocabulary] = output.logits.shape;
      return crossEntropy(reshape(output.logits, [rows * length, vocabulary]), targets, weights);
    }
    case 'classes':
      return crossEntropy(output.logits, targets, weights);
    case 'vectors':
      throw new RankineError(
        'training/no-loss',
        'A model that gives vectors has no loss on labels.',
        'Load it with the task sequence-classification.',
      );
  }
}
