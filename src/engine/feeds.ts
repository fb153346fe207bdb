import { RankineError } from '../errors.ts';
import { type NDArray, sizeOf } from '../graph/array.ts';
import { describe, type InputSpec } from '../graph/index.ts';
import { sameShape, type TensorType } from '../graph/tensor.ts';

export type Feeds = Readonly<Record<string, NDArray>>;

function fits(array: NDArray, type: TensorType): boolean {
  return (
    array.dtype === type.dtype &&
    sameShape(array.shape, type.shape) &&
    array.data.length === sizeOf(type.shape)
  );
}

/**
 * Checks that every input is fed with its shape and type and that nothing else is: ONNX Runtime ignores unknown names
 * silently. Throws `engine/missing-feed`, `engine/feed-type` or `engine/unknown-feed`.
 */
export function checkFeeds(specs: readonly InputSpec[], feeds: Feeds): void {
  const known = new Set<string>();
  for (const spec of specs) {
    known.add(spec.name);
    const fed = feeds[spec.name];
    if (!fed)
      throw new RankineError('engine/missing-feed', `The program's input "${spec.name}" was not fed.`);
    if (!fits(fed, spec))
      throw new RankineError(
        'engine/feed-type',
        `The input "${spec.name}" is ${describe(spec)}, but ${describe(fed)} with ${fed.data.length} elements was fed.`,
      );
  }
  for (const name of Object.keys(feeds))
    if (!known.has(name))
      throw new RankineError(
        'engine/unknown-feed',
        `The program has no input "${name}".`,
        `Its inputs are: ${[...known].join(', ')}.`,
      );
}

/** Checks arrays that outputs go into. Throws `engine/unknown-output` or `engine/output-type`. */
export function checkOutputs(outputs: Readonly<Record<string, TensorType>>, into: Feeds): void {
  for (const [name, array] of Object.entries(into)) {
    const type = outputs[name];
    if (!type)
      throw new RankineError(
        'engine/unknown-output',
        `The program has no output "${name}".`,
        `Its outputs are: ${Object.keys(outputs).join(', ')}.`,
      );
    if (!fits(array, type))
      throw new RankineError(
        'engine/output-type',
        `The output "${name}" is ${describe(type)}, but the array for it is ${describe(array)} with ${array.data.length} elements.`,
      );
  }
}

/** True when two arrays share memory. */
export function overlap(a: NDArray, b: NDArray): boolean {
  const [x, y] = [a.data, b.data];
  return (
    x.buffer === y.buffer &&
    x.byteOffset < y.byteOffset + y.byteLength &&
    y.byteOffset < x.byteOffset + x.byteLength
  );
}

/** True when two arrays are the same memory from end to end. */
export function covers(a: NDArray, b: NDArray): boolean {
  return (
    a.data.buffer === b.data.buffer &&
    a.data.byteOffset === b.data.byteOffset &&
    a.data.byteLength === b.data.byteLength
  );
}
