import { concat, reshape, slice } from './shape.ts';
import { size, type Tensor } from './tensor.ts';

/**
 * The value of x, available only once every tensor of `first` is: one element of each is joined to x and cut off again.
 * A graph has no other way to say in which order independent results are computed, and with it what is held meanwhile.
 *
 * ONNX Runtime visits nodes depth first from the last leaf, and of a node's inputs first the one that was lowered last.
 * Operands are lowered in their order, so those of `first` are visited before x.
 */
export function after(x: Tensor, first: readonly Tensor[]): Tensor {
  if (first.length === 0) return x;
  const flat = (t: Tensor) => reshape(t, [size(t)]);
  const joined = concat([flat(x), ...first.map((t) => slice(flat(t), 0, 0, 1))], 0);
  return reshape(slice(joined, 0, 0, size(x)), x.shape);
}
