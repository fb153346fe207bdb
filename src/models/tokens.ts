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
import type { BatchInputs } from './architecture.ts';

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
