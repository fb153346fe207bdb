import {
  add,
  cast,
  concat,
  constant,
  cos,
  div,
  exp,
  log,
  matmul,
  max,
  maximum,
  mul,
  neg,
  sin,
  sub,
  type Tensor,
  unsqueeze,
} from '../graph/index.ts';
import { dynamicExponent, type RopeConfig, ropeFrequencies } from './rope-frequencies.ts';

/** Cosines and sines, broadcastable to [B, heads, T, dim]. */
export interface RopeTable {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Tables for positions 0 … length−1, or for given positions (int64 [B, T]). */
export type RopeTables = (length: number, positions?: Tensor) => RopeTable;

/** The tables of a model. All blocks of a trace share them: constants are merged by identity, never by value. */
export function ropeTables(config: RopeConfig): RopeTables {
  const byPositions = new WeakMap<Tensor, RopeTable>();
  let last: { length: number; table: RopeTable } | undefined;
  return (length, positions) => {
    if (!positions) {
      if (last?.length !== length) last = { length, table: fixedTable(config, length) };
      return last.table;
    }
    const known = byPositions.get(positions) ?? fedTable(config, positions);
    byPositions.set(positions, known);
    return known;
  };
}

/** Angles are products in float32, as in transformers, so that both kinds of tables agree to the last bit. */
function fixedTable(config: RopeConfig, length: number): RopeTable {
  const { inverse, attention } = ropeFrequencies(config, length);
  const { dim } = config;
  const build = (f: (x: number) => number) => {
    const data = new Float32Array(length * dim);
    for (let t = 0; t < length; t++)
      for (let i = 0; i < dim; i++)
        data[t * dim + i] = f(Math.fround(t * Math.fround(inverse[i % inverse.length]))) * attention;
    return constant({ dtype: 'float32', shape: [1, 1, length, dim], data });
  };
  return { cos: build(Math.cos), sin: build(Math.sin) };
}

function fedTable(config: RopeConfig, positions: Tensor): RopeTable {
  const { inverse, attention } = ropeFrequencies(config, 0);
  const at = cast(unsqueeze(unsqueeze(positions, 1), 3), 'float32');
  const half = mul(
    at,
    config.type === 'dynamic' ? dynamicInverse(config, at) : row(Float32Array.from(inverse)),
  );
  const full = concat([half, half], 3);
  return { cos: mul(cos(full), attention), sin: mul(sin(full), attention) };
}

/** Frequencies that follow the largest of the positions [B, 1, T, 1]: the base is known only when the program runs. */
function dynamicInverse(config: RopeConfig, at: Tensor): Tensor {
  const factor = config.scaling.number('factor');
  const reach = maximum(div(add(max(at), 1), config.maxPositions), 1);
  const growth = mul(log(sub(mul(reach, factor), factor - 1)), dynamicExponent(config));
  const exponents = Float32Array.from({ length: config.dim / 2 }, (_, i) => (2 * i) / config.dim);
  return exp(neg(mul(add(growth, Math.log(config.theta)), row(exponents))));
}

function row(data: Float32Array): Tensor {
  return constant({ dtype: 'float32', shape: [1, 1, 1, data.length], data });
}

/** Rotates x [B, heads, T, dim] with the halves convention of the Hugging Face checkpoints. */
export function rotate(x: Tensor, table: RopeTable): Tensor {
  return add(mul(x, table.cos), mul(matmul(x, halfTurn(x.shape[3])), table.sin));
}

const halfTurns = new Map<number, Tensor>();

/** The signed permutation (a, b) → (−b, a) of a head's halves: one small product is cheaper than cutting and joining. */
function halfTurn(dim: number): Tensor {
  const known = halfTurns.get(dim);
  if (known) return known;
  const data = new Float32Array(dim * dim);
  for (let i = 0; i < dim / 2; i++) {
    data[(i + dim / 2) * dim + i] = -1;
    data[i * dim + i + dim / 2] = 1;
  }
  const turn = constant({ dtype: 'float32', shape: [dim, dim], data });
  halfTurns.set(dim, turn);
  return turn;
}
