import type { BatchInputs } from './architecture.ts';

const known = new WeakMap<BatchInputs, Map<string, unknown>>();

/**
 * What `make` gives, made once for a batch: all blocks of a trace then share one mask instead of holding one each, for
 * the simplifier merges constants by identity, never by value. `make` must depend on the batch and the key alone.
 */
export function perBatch<T>(batch: BatchInputs, key: string, make: () => T): T {
  const values = known.get(batch) ?? new Map<string, unknown>();
  known.set(batch, values);
  if (!values.has(key)) values.set(key, make());
  return values.get(key) as T;
}
