import {
  abs,
  add,
  array,
  cast,
  constant,
  div,
  fill,
  gather,
  greater,
  max,
  mul,
  pad,
  reshape,
  sizeOf,
  slice,
  sub,
  type Tensor,
  where,
} from '../graph/index.ts';
import type { ParameterInfo, StateSpec } from './optimizer.ts';
import type { Piece } from './pieces.ts';

/** Values that share one scale. */
export const BLOCK = 256;

/**
 * The 256 values of Dettmers' dynamic quantization (arXiv 2110.02861), ascending: decade 10^(e−6) of [0.1, 1], e = 0 … 6,
 * in 2^e (signed) or 2^(e+1) equal cells, each by its middle; 0 and 1.
 */
export function dynamicCodes(signed: boolean): Float32Array {
  const values = [0, 1];
  for (let e = 0; e <= 6; e++) {
    const cells = 2 ** (signed ? e : e + 1);
    for (let i = 0; i < cells; i++) {
      const middle = (0.1 + (0.9 * (i + 0.5)) / cells) * 10 ** (e - 6);
      values.push(...(signed ? [middle, -middle] : [middle]));
    }
  }
  return Float32Array.from(values).sort();
}

/** Halfway between neighbours: value x takes the code whose number is how many of these lie below it. */
export function codeEdges(codes: Float32Array): Float32Array {
  return Float32Array.from({ length: codes.length - 1 }, (_, i) => (codes[i] + codes[i + 1]) / 2);
}

const blocksOf = (size: number) => Math.ceil(size / BLOCK);

/** State of one quantized array: a byte a value (blocks are filled up with zeros) and a scale a block. */
export function quantizedState(name: string, size: number): Record<string, StateSpec> {
  const blocks = blocksOf(size);
  return { [name]: { shape: [blocks, BLOCK], dtype: 'uint8' }, [`${name}Scale`]: { shape: [blocks, 1] } };
}

function quantize(x: Tensor, size: number, signed: boolean): { codes: Tensor; scale: Tensor } {
  const blocks = blocksOf(size);
  const grid = reshape(pad(reshape(x, [size]), 0, 0, blocks * BLOCK - size), [blocks, BLOCK]);
  const scale = max(abs(grid), 1, true);
  const relative = div(grid, where(greater(scale, 0), scale, 1));
  const edges = constant(array(codeEdges(dynamicCodes(signed)), [255]));
  let code = fill(grid.shape, 0, 'int64');
  for (let step = 128; step >= 1; step /= 2) {
    const next = add(code, step);
    code = where(greater(relative, gather(edges, sub(next, 1))), next, code);
  }
  return { codes: cast(code, 'uint8'), scale };
}

function dequantize(codes: Tensor, scale: Tensor, shape: readonly number[], signed: boolean): Tensor {
  const table = constant(array(dynamicCodes(signed), [256]));
  const values = mul(gather(table, cast(codes, 'int64')), scale);
  const size = shape.reduce((n, d) => n * d, 1);
  return reshape(slice(reshape(values, [blocksOf(size) * BLOCK]), 0, 0, size), shape);
}

/**
 * Keeps a piece's state in 8 bits, block by block; its arithmetic stays float32.
 * @param signed whether a state takes both signs, by its name
 */
export function inEightBits(inner: Piece, signed: Readonly<Record<string, boolean>>): Piece {
  const names = Object.keys(signed);
  return {
    state(parameter: ParameterInfo) {
      const specs = inner.state(parameter);
      return Object.assign(
        {},
        ...names.map((n) => {
          const state = quantizedState(n, sizeOf(specs[n].shape));
          return { ...state, [n]: { ...state[n], moment: specs[n].moment } };
        }),
      );
    },
    apply(direction, state, context) {
      const wide = Object.fromEntries(
        names.map((n) => [n, dequantize(state[n], state[`${n}Scale`], direction.shape, signed[n])]),
      );
      const result = inner.apply(direction, wide, context);
      const size = direction.shape.reduce((a, d) => a * d, 1);
      const narrow = names.map((n) => {
        const { codes, scale } = quantize(result.state[n], size, signed[n]);
        return { [n]: codes, [`${n}Scale`]: scale };
      });
      return { direction: result.direction, state: Object.assign({}, ...narrow) };
    },
  };
}
