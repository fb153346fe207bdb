import {
  add,
  div,
  equal,
  mul,
  type NDArray,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  where,
} from '../graph/index.ts';
import type { ParameterInfo, StateSpec } from './optimizer.ts';

/** Only ever beside lengths in a division: a row of zeros stays one. */
const TINY = 1e-12;

/** W = g ∘ V/‖V‖ for the rows of W ∈ R^{out×in}, told from W alone and ρ = ‖V‖/g, one number a row. */
export interface Split {
  readonly V: Tensor;
  /** V/‖V‖. */
  readonly unit: Tensor;
  /** ‖V‖; like everything below of the shape of ρ. */
  readonly length: Tensor;
  /** g, which carries the sign of ρ. */
  readonly magnitude: Tensor;
}

/** The rows of out×in lie along this axis of the stored weight; sums over it leave one number a row. */
export function alongRow({ layer }: ParameterInfo): 0 | 1 {
  return layer?.transposed ? 0 : 1;
}

export function ratioState(parameter: ParameterInfo): StateSpec {
  return { shape: alongRow(parameter) === 1 ? [parameter.shape[0], 1] : [1, parameter.shape[1]] };
}

function rowLength(V: Tensor, axis: number): Tensor {
  return sqrt(sum(square(V), axis, true));
}

/** A ratio of 0, where all state starts, is 1: V = W. */
export function splitWeight(W: Tensor, ratio: Tensor, axis: number): Split {
  const held = where(equal(ratio, 0), 1, ratio);
  const V = mul(W, held);
  const length = rowLength(V, axis);
  return { V, length, unit: div(V, add(length, TINY)), magnitude: div(length, held) };
}

/** Gradients of V and g (Salimans and Kingma 2016, equation 3): ∂g = Σ_row G ∘ V/‖V‖, ∂V = (g/‖V‖)(G − ∂g V/‖V‖). */
export function splitGradient(
  { unit, length, magnitude }: Split,
  G: Tensor,
  axis: number,
): { V: Tensor; magnitude: Tensor } {
  const along = sum(mul(G, unit), axis, true);
  return { V: mul(sub(G, mul(unit, along)), div(magnitude, add(length, TINY))), magnitude: along };
}

/** W and ρ of a V and a g. */
export function joined(V: Tensor, magnitude: Tensor, axis: number): { W: Tensor; ratio: Tensor } {
  const length = rowLength(V, axis);
  const held = where(equal(magnitude, 0), TINY, magnitude);
  return { W: mul(V, div(magnitude, add(length, TINY))), ratio: div(length, held) };
}

/** ∂V on the host: what `splitGradient` gives. */
export function tangentGradient(W: NDArray, ratio: NDArray, G: NDArray, axis: number): NDArray {
  const [rows, columns] = W.shape;
  const [w, g] = [W.data as Float32Array, G.data as Float32Array];
  const [count, size] = axis === 1 ? [rows, columns] : [columns, rows];
  const [next, stride] = axis === 1 ? [columns, 1] : [1, columns];
  const data = new Float32Array(w.length);
  for (let i = 0; i < count; i++) {
    let [squares, along] = [0, 0];
    for (let k = 0, at = i * next; k < size; k++, at += stride) {
      squares += w[at] * w[at];
      along += w[at] * g[at];
    }
    // A row of zeros has no direction and no gradient: g/‖V‖ is 0.
    const share = squares === 0 ? 0 : 1 / (Number(ratio.data[i]) || 1);
    const back = squares === 0 ? 0 : along / squares;
    for (let k = 0, at = i * next; k < size; k++, at += stride) data[at] = share * (g[at] - back * w[at]);
  }
  return { ...G, data };
}
