import { RankineError } from '../errors.ts';
import { add, concat, constant, gather, mul, neg, slice, type Tensor, unsqueeze } from '../graph/index.ts';

/** `rope_scaling` / `rope_parameters` of config.json. */
export interface RopeScaling {
  rope_type?: string;
  type?: string;
  rope_theta?: number;
  factor?: number;
  low_freq_factor?: number;
  high_freq_factor?: number;
  original_max_position_embeddings?: number;
  attention_factor?: number;
  beta_fast?: number;
  beta_slow?: number;
  mscale?: number;
  mscale_all_dim?: number;
  truncate?: boolean;
}

export interface RopeConfig {
  theta: number;
  /** Rotated width of a head (even). */
  dim: number;
  maxPositions: number;
  scaling?: RopeScaling;
}

export interface RopeFrequencies {
  /** dim/2 angular frequencies. */
  inverse: Float64Array;
  /** Multiplies cosine and sine (yarn). */
  attention: number;
}

/**
 * Angular frequencies for sequences of `length`: types default, linear, dynamic (NTK), yarn (arXiv 2309.00071) and
 * llama3, as in transformers' modeling_rope_utils.
 */
export function ropeFrequencies(config: RopeConfig, length: number): RopeFrequencies {
  const type = config.scaling?.rope_type ?? config.scaling?.type ?? 'default';
  const plain = frequencies(config.theta, config.dim);
  switch (type) {
    case 'default':
      return { inverse: plain, attention: 1 };
    case 'linear':
      return { inverse: plain.map((f) => f / required(config, 'factor')), attention: 1 };
    case 'dynamic':
      return { inverse: dynamic(config, length), attention: 1 };
    case 'yarn':
      return yarn(config, plain);
    case 'llama3':
      return { inverse: llama3(config, plain), attention: 1 };
    default:
      throw new RankineError(
        'models/rope-type',
        `The rope type "${type}" is not known.`,
        'Known: default, linear, dynamic, yarn, llama3.',
      );
  }
}

function frequencies(theta: number, dim: number): Float64Array {
  return Float64Array.from({ length: dim / 2 }, (_, i) => theta ** (-(2 * i) / dim));
}

function required(config: RopeConfig, key: 'factor' | 'low_freq_factor' | 'high_freq_factor'): number {
  const value = config.scaling?.[key];
  if (value === undefined) throw new RankineError('models/rope-scaling', `rope_scaling lacks "${key}".`);
  return value;
}

function dynamic(config: RopeConfig, length: number): Float64Array {
  const original = config.scaling?.original_max_position_embeddings ?? config.maxPositions;
  const factor = required(config, 'factor');
  const reach = Math.max(length, original);
  const base = config.theta * ((factor * reach) / original - (factor - 1)) ** (config.dim / (config.dim - 2));
  return frequencies(base, config.dim);
}

function llama3(config: RopeConfig, plain: Float64Array): Float64Array {
  const factor = required(config, 'factor');
  const low = required(config, 'low_freq_factor');
  const high = required(config, 'high_freq_factor');
  const original = config.scaling?.original_max_position_embeddings ?? config.maxPositions;
  return plain.map((f) => {
    const wavelength = (2 * Math.PI) / f;
    if (wavelength < original / high) return f;
    if (wavelength > original / low) return f / factor;
    const smooth = (original / wavelength - low) / (high - low);
    return ((1 - smooth) * f) / factor + smooth * f;
  });
}

function yarn(config: RopeConfig, plain: Float64Array): RopeFrequencies {
  const s = config.scaling!;
  const original = s.original_max_position_embeddings ?? config.maxPositions;
  const factor = s.factor ?? config.maxPositions / original;
  const mscale = (m: number) => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  const attention =
    s.attention_factor ??
    (s.mscale && s.mscale_all_dim ? mscale(s.mscale) / mscale(s.mscale_all_dim) : mscale(1));
  const turn = (rotations: number) =>
    (config.dim * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(config.theta));
  let low = turn(s.beta_fast ?? 32);
  let high = turn(s.beta_slow ?? 1);
  if (s.truncate ?? true) [low, high] = [Math.floor(low), Math.ceil(high)];
  low = Math.max(low, 0);
  high = Math.min(high, config.dim - 1);
  if (low === high) high += 0.001;
  const inverse = plain.map((f, i) => {
    const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)));
    return (f / factor) * ramp + f * (1 - ramp);
  });
  return { inverse, attention };
}

/** Cosines and sines, broadcastable to [B, heads, T, dim]. */
export interface RopeTable {
  cos: Tensor;
  sin: Tensor;
}

/** Tables for positions 0 … length−1, or for given positions (int64 [B, T]) below `maxPositions`. */
export function ropeTable(config: RopeConfig, length: number, positions?: Tensor): RopeTable {
  const rows = positions ? config.maxPositions : length;
  const { inverse, attention } = ropeFrequencies(config, rows);
  const build = (f: (x: number) => number) => {
    const data = new Float32Array(rows * config.dim);
    for (let t = 0; t < rows; t++)
      for (let i = 0; i < config.dim; i++)
        data[t * config.dim + i] = f(t * inverse[i % inverse.length]) * attention;
    const table = constant({ dtype: 'float32', shape: [rows, config.dim], data });
    return positions ? unsqueeze(gather(table, positions), 1) : unsqueeze(unsqueeze(table, 0), 0);
  };
  return { cos: build(Math.cos), sin: build(Math.sin) };
}

/** Rotates x [B, heads, T, dim] with the halves convention of the Hugging Face checkpoints. */
export function rotate(x: Tensor, table: RopeTable): Tensor {
  const dim = x.shape[3];
  const rotated = concat([neg(slice(x, 3, dim / 2, dim)), slice(x, 3, 0, dim / 2)], 3);
  return add(mul(x, table.cos), mul(rotated, table.sin));
}
