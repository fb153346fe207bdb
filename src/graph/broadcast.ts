import { type Shape, sizeOf } from './array.ts';
import { sameShape, shapeError, type Tensor } from './tensor.ts';

/** NumPy's broadcast of two shapes; throws `graph/shape` naming the operator and both shapes. */
export function broadcastShapes(op: string, inputs: readonly Tensor[]): Shape {
  const rank = Math.max(...inputs.map((t) => t.shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    let dim = 1;
    for (const t of inputs) {
      const d = t.shape[axis - rank + t.shape.length] ?? 1;
      if (d !== 1 && dim !== 1 && d !== dim)
        throw shapeError(op, inputs, `axis ${axis} has ${dim} and ${d} elements, which do not broadcast`);
      if (d !== 1) dim = d;
    }
    return dim;
  });
}

/** Flat source index in a tensor of `shape` for every flat index of the broadcast `target`. */
export function broadcastIndex(shape: Shape, target: Shape): (flat: number) => number {
  if (sizeOf(shape) === 1) return () => 0;
  if (sameShape(shape, target)) return (flat) => flat;
  const offset = target.length - shape.length;
  const strides = new Array<number>(target.length).fill(0);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1) strides[axis + offset] = stride;
    stride *= shape[axis];
  }
  return (flat) => {
    let index = 0;
    let rest = flat;
    for (let axis = target.length - 1; axis >= 0; axis--) {
      const d = target[axis];
      index += (rest % d) * strides[axis];
      rest = Math.floor(rest / d);
    }
    return index;
  };
}
