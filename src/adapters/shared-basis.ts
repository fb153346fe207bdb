import { RankineError } from '../errors.ts';
import { type NDArray, zeros } from '../graph/index.ts';
import { random } from '../linalg/index.ts';

/** Says how the numbers of a basis are made; part of every file that holds a seed instead of them. */
export const BASIS_GENERATOR = 'philox4x32-10/rows-1';

/** Turns a number drawn from U[0, 1) into an entry. */
export type Entry = (uniform: number) => number;

/** U(−bound, bound). */
export const uniformEntry =
  (bound: number): Entry =>
  (u) =>
    (2 * u - 1) * bound;

/**
 * The first `rows` rows and `columns` columns of the endless random matrix that (seed, stream) name: row i is draw
 * number i of the stream. Smaller matrices are therefore slices of larger ones, without anybody knowing the largest,
 * and any chunk of rows can be made alone.
 */
export function basisRows(
  seed: number,
  stream: string,
  { from = 0, rows, columns }: { from?: number; rows: number; columns: number },
  entry: Entry,
): NDArray {
  const out = zeros([rows, columns]);
  const data = out.data as Float32Array;
  const source = random(seed, stream);
  for (let i = 0; i < rows; i++) source.fillUniform(data.subarray(i * columns, (i + 1) * columns), from + i);
  for (let i = 0; i < data.length; i++) data[i] = entry(data[i]);
  return out;
}

const alive = new Map<string, WeakRef<NDArray>>();

/**
 * Layers of one shape get one array, not equal copies: bases can be as large as the weights themselves. `key` names
 * all that `make` depends on. Forms never write into what comes from here.
 */
export function sharedArray(key: string, make: () => NDArray): NDArray {
  const known = alive.get(key)?.deref();
  if (known) return known;
  const fresh = make();
  alive.set(key, new WeakRef(fresh));
  return fresh;
}

/**
 * The smallest array of which every part is a leading slice (all axes from 0), as PEFT stores shared bases; entries
 * that no part covers are zero.
 *
 * @throws RankineError `adapters/no-shared-basis` where two parts disagree
 */
export function jointBasis(form: string, parts: readonly NDArray[], shape: readonly number[]): NDArray {
  const joint = zeros(shape);
  const filled = new Uint8Array(joint.data.length);
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((n, d) => n * d, 1));
  for (const part of new Set(parts)) {
    const inner = part.shape.map((_, axis) => part.shape.slice(axis + 1).reduce((n, d) => n * d, 1));
    for (let flat = 0; flat < part.data.length; flat++) {
      let at = 0;
      for (let axis = 0; axis < shape.length; axis++)
        at += (Math.floor(flat / inner[axis]) % part.shape[axis]) * strides[axis];
      if (filled[at] && joint.data[at] !== part.data[flat]) throw noSharedBasis(form);
      joint.data[at] = part.data[flat];
      filled[at] = 1;
    }
  }
  return joint;
}

function noSharedBasis(form: string): RankineError {
  return new RankineError(
    'adapters/no-shared-basis',
    `${form}: the layers' bases are not slices of one basis, which PEFT's file needs.`,
    'Adapt layers of one shape, or write the merged model instead: rankine merge.',
  );
}

/** The leading slice of `shape` of a basis; shares the buffer where it is the whole. */
export function leadingSlice(basis: NDArray, shape: readonly number[]): NDArray {
  if (shape.every((d, axis) => d === basis.shape[axis])) return basis;
  const out = zeros(shape);
  const strides = basis.shape.map((_, axis) => basis.shape.slice(axis + 1).reduce((n, d) => n * d, 1));
  const inner = shape.map((_, axis) => shape.slice(axis + 1).reduce((n, d) => n * d, 1));
  for (let flat = 0; flat < out.data.length; flat++) {
    let at = 0;
    for (let axis = 0; axis < shape.length; axis++)
      at += (Math.floor(flat / inner[axis]) % shape[axis]) * strides[axis];
    out.data[flat] = basis.data[at];
  }
  return out;
}
