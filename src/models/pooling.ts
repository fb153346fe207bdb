import { RankineError } from '../errors.ts';
import { l2Normalize, type Tensor } from '../graph/index.ts';
import type { BatchInputs, HeadOutput } from './architecture.ts';
import { fields, type ModelConfig } from './config.ts';
import { lastToken, meanToken, tokenAt } from './tokens.ts';

/** How a row's vector comes from its hidden states; in the configuration under `sentence_embedding`. */
export interface SentenceEmbedding {
  readonly pooling: 'mean' | 'cls' | 'last';
  /** Scale to unit length. */
  readonly normalize: boolean;
}

const POOLINGS: Readonly<Record<SentenceEmbedding['pooling'], (x: Tensor, batch: BatchInputs) => Tensor>> = {
  mean: meanToken,
  cls: (x) => tokenAt(x, 0),
  last: lastToken,
};

/**
 * One vector a row. `config.sentence_embedding` says how (see `loadModel`); without it the mean over the tokens.
 * @throws RankineError `models/pooling`
 */
export function sentenceVectors(hidden: Tensor, batch: BatchInputs, config: ModelConfig): HeadOutput {
  const { pooling, normalize } = sentenceEmbedding(config);
  const vectors = POOLINGS[pooling](hidden, batch);
  return { kind: 'vectors', vectors: normalize ? l2Normalize(vectors) : vectors };
}

function sentenceEmbedding(config: ModelConfig): SentenceEmbedding {
  const f = fields(
    (config.sentence_embedding ?? {}) as ModelConfig,
    'sentence_embedding of the configuration',
  );
  const pooling = f.text('pooling', 'mean');
  if (!Object.hasOwn(POOLINGS, pooling)) throw unknownPooling(pooling);
  return { pooling: pooling as SentenceEmbedding['pooling'], normalize: f.flag('normalize', false) };
}

export function unknownPooling(name: string): RankineError {
  return new RankineError(
    'models/pooling',
    `The pooling "${name}" is not known.`,
    `Known: ${Object.keys(POOLINGS).join(', ')}.`,
  );
}
