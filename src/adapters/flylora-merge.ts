import { RankineError } from '../errors.ts';
import { type NDArray, zeros } from '../graph/index.ts';
import { multiply } from '../linalg/index.ts';
import type { Arrays } from './weight-form.ts';

/** The average of several tasks on one layer. */
export type MergedFlylora =
  /** Tasks of one A (one seed): B and d averaged, still chosen by token. */
  | { readonly kind: 'routed'; readonly arrays: Arrays }
  /** Tasks of different A: the average of s B A, the dense stand-ins, m×n. */
  | { readonly kind: 'dense'; readonly delta: NDArray };

/**
 * Averages tasks' adapters of one layer. With a shared A averaging B is exact; independent sparse A are nearly
 * orthogonal, so that the average of the dense stand-ins keeps tasks apart.
 *
 * @param tasks `A` [r, n], `B` [m, r], `bias` [r] of every task
 * @param scale s = α/r
 * @throws RankineError `adapters/different-forms` where the shapes differ
 */
export function mergeFlylora(tasks: readonly Arrays[], scale: number): MergedFlylora {
  const [first] = tasks;
  for (const key of ['A', 'B', 'bias'])
    for (const task of tasks)
      if (task[key]?.shape.join() !== first[key].shape.join()) throw differentForms(key, first, task);
  const shared = tasks.every(({ A }) =>
    A.data.every((v: number | bigint, i: number) => v === first.A.data[i]),
  );
  if (shared)
    return {
      kind: 'routed',
      arrays: { A: first.A, B: average(tasks.map((t) => t.B)), bias: average(tasks.map((t) => t.bias)) },
    };
  const deltas = tasks.map(({ A, B }) => {
    const { data } = multiply(
      { rows: B.shape[0], cols: B.shape[1], data: B.data as Float32Array },
      { rows: A.shape[0], cols: A.shape[1], data: A.data as Float32Array },
    );
    return { dtype: 'float32' as const, shape: [B.shape[0], A.shape[1]], data: data.map((v) => scale * v) };
  });
  return { kind: 'dense', delta: average(deltas) };
}

function average(arrays: readonly NDArray[]): NDArray {
  const out = zeros(arrays[0].shape);
  for (let i = 0; i < out.data.length; i++)
    out.data[i] = arrays.reduce((t, a) => t + Number(a.data[i]), 0) / arrays.length;
  return out;
}

function differentForms(key: string, first: Arrays, other: Arrays): RankineError {
  return new RankineError(
    'adapters/different-forms',
    `Adapters to be averaged have ${key} of shapes [${first[key].shape}] and [${other[key]?.shape ?? 'none'}].`,
    'Average adapters of one form, with one rank and the same layers.',
  );
}
