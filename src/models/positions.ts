import { add, constant, layerNorm, type Tensor } from '../graph/index.ts';
import type { BatchInputs } from './architecture.ts';
import type { Context } from './context.ts';

/**
 * Rows of a table of learned positions, int64 [B, T], or [1, T] where the batch has none of its own.
 * @param offset row of position 0 (RoBERTa)
 */
export function positionIds(batch: BatchInputs, offset = 0): Tensor {
  if (!batch.positions) return int64Row(batch.ids!.shape[1], (i) => i + offset);
  return offset === 0
    ? batch.positions
    : add(
        batch.positions,
        int64Row(1, () => offset),
      );
}

/** Sentence numbers, int64 [B, T], or [1, 1] zero where the batch has none. */
export function typeIds(batch: BatchInputs): Tensor {
  return batch.types ?? int64Row(1, () => 0);
}

function int64Row(length: number, value: (i: number) => number): Tensor {
  const data = BigInt64Array.from({ length }, (_, i) => BigInt(value(i)));
  return constant({ dtype: 'int64', shape: [1, length], data });
}

/** Layer normalization with the parameters `name`.weight and `name`.bias. */
export function namedLayerNorm(c: Context, name: string, x: Tensor, eps: number): Tensor {
  return layerNorm(x, c.parameter(`${name}.weight`), c.parameter(`${name}.bias`), eps);
}
