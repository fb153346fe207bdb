import { checked, type Dataset } from './dataset.ts';

/**
 * Examples by row, for batches. A row gives one example, several (a long text that was split) or none (dropped).
 */
export interface ExampleSource<E> {
  readonly name: string;
  /** Number of rows. */
  readonly length: number;
  /** Length in tokens of the longest example, where it is known. */
  readonly longest?: number;
  at(row: number): Promise<readonly E[]>;
}

/** Tokenizes everything once and keeps it; every example becomes a row of its own, so that all are shuffled. */
export async function inMemory<E>(
  dataset: Dataset,
  toExamples: (row: Awaited<ReturnType<Dataset['at']>>) => readonly E[],
  signal?: AbortSignal,
): Promise<ExampleSource<E>> {
  const examples: E[] = [];
  for await (const row of dataset.rows()) {
    signal?.throwIfAborted();
    for (const example of toExamples(row)) examples.push(example);
  }
  return fromExamples(examples, dataset.name);
}

/** Examples that are already there. */
export function fromExamples<E>(examples: readonly E[], name = 'examples'): ExampleSource<E> {
  const longest = examples.reduce((most, example) => Math.max(most, lengthOf(example)), 0);
  return {
    name,
    length: examples.length,
    longest: longest || undefined,
    at: async (row) => [examples[checked(row, examples.length, name)]],
  };
}

/** Tokenizes each row when it is asked for: for files larger than memory. */
export async function onDemand<E>(
  dataset: Dataset,
  toExamples: (row: Awaited<ReturnType<Dataset['at']>>) => readonly E[],
): Promise<ExampleSource<E>> {
  return {
    name: dataset.name,
    length: await dataset.count(),
    at: async (row) => toExamples(await dataset.at(row)),
  };
}

function lengthOf(example: unknown): number {
  return (example as { inputIds?: Int32Array }).inputIds?.length ?? 0;
}
