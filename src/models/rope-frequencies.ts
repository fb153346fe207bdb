import { RankineError } from '../errors.ts';
import { type Fields, fields, type ModelConfig } from './config.ts';

const TYPES = ['default', 'linear', 'dynamic', 'yarn', 'llama3'] as const;
export type RopeType = (typeof TYPES)[number];

export interface RopeConfig {
  readonly type: RopeType;
  readonly theta: number;
  /** Width of a head (even). */
  readonly dim: number;
  readonly maxPositions: number;
  /** Longest sequence that the scaling is made for. */
  readonly maxLength: number;
  /** `rope_scaling` or `rope_parameters`. */
  readonly scaling: Fields;
}

/**
 * Rotary positions as config.json describes them: in `rope_parameters` (transformers 5), or in `rope_scaling` and
 * `rope_theta`.
 * @throws RankineError `models/rope-type`, `models/config`, `models/unsupported`
 */
export function ropeConfig(config: ModelConfig, dim: number): RopeConfig {
  const f = fields(config);
  const raw = (config.rope_scaling ?? config.rope_parameters ?? {}) as ModelConfig;
  const scaling = fields(raw, 'rope scaling in the configuration');
  const type = knownType(scaling.text('rope_type', scaling.text('type', 'default')));
  const partial = scaling.number('partial_rotary_factor', f.number('partial_rotary_factor', 1));
  if (partial !== 1)
    throw new RankineError(
      'models/unsupported',
      `Rotary positions turn only a part of each head (partial_rotary_factor ${partial}), which is not supported.`,
      'Use a checkpoint without it.',
    );
  const maxPositions = f.count('max_position_embeddings', 2048);
  return {
    type,
    theta: scaling.number('rope_theta', f.number('rope_theta', 10_000)),
    dim,
    maxPositions,
    maxLength:
      type === 'linear' || type === 'dynamic'
        ? Math.floor(maxPositions * scaling.number('factor'))
        : maxPositions,
    scaling,
  };
}

function knownType(type: string): RopeType {
  const known = TYPES.find((t) => t === type);
  if (known) return known;
  throw new RankineError(
    'models/rope-type',
    `The rope type "${type}" is not known.`,
    `Known: ${TYPES.join(', ')}.`,
  );
}

export interface RopeFrequencies {
  /** dim/2 angular frequencies. */
  readonly inverse: Float64Array;
  /** Multiplies cosine and sine (yarn). */
  readonly attention: number;
}

/**
 * Angular frequencies for sequences of `length`, as in transformers' modeling_rope_utils: default (arXiv 2104.09864),
 * linear (2306.15595), dynamic (NTK-aware), yarn (2309.00071) and llama3.
 * @throws RankineError `models/config`
 */
export function ropeFrequencies(config: RopeConfig, length: number): RopeFrequencies {
  const plain = frequencies(config.theta, config.dim);
  const { scaling } = config;
  switch (config.type) {
    case 'default':
      return { inverse: plain, attention: 1 };
    case 'linear':
      return { inverse: plain.map((f) => f / scaling.number('factor')), attention: 1 };
    case 'dynamic':
      return { inverse: frequencies(config.theta * dynamicGrowth(config, length), config.dim), attention: 1 };
    case 'yarn':
      return yarn(config, plain);
    case 'llama3':
      return { inverse: llama3(config, plain), attention: 1 };
  }
}

function frequencies(theta: number, dim: number): Float64Array {
  return Float64Array.from({ length: dim / 2 }, (_, i) => theta ** (-(2 * i) / dim));
}

/** The exponent to which the growth of the base is raised with the dynamic type. */
export function dynamicExponent(config: RopeConfig): number {
  return config.dim / (config.dim - 2);
}

/** How the base grows for sequences longer than the model's own length. */
function dynamicGrowth(config: RopeConfig, length: number): number {
  const factor = config.scaling.number('factor');
  const reach = Math.max(length, config.maxPositions) / config.maxPositions;
  return (factor * reach - (factor - 1)) ** dynamicExponent(config);
}

/** Length of the sequences that the model was trained on before its scaling. */
function originalLength({ scaling, maxPositions }: RopeConfig): number {
  return scaling.count('original_max_position_embeddings', maxPositions);
}

function llama3(config: RopeConfig, plain: Float64Array): Float64Array {
  const factor = config.scaling.number('factor');
  const low = config.scaling.number('low_freq_factor');
  const high = config.scaling.number('high_freq_factor');
  const original = originalLength(config);
  return plain.map((f) => {
    const wavelength = (2 * Math.PI) / f;
    if (wavelength < original / high) return f;
    if (wavelength > original / low) return f / factor;
    const smooth = (original / wavelength - low) / (high - low);
    return ((1 - smooth) * f) / factor + smooth * f;
  });
}

function yarn(config: RopeConfig, plain: Float64Array): RopeFrequencies {
  const { scaling: s, dim, theta } = config;
  const original = originalLength(config);
  const factor = s.number('factor', config.maxPositions / original);
  const turn = (rotations: number) =>
    (dim * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const whole = s.flag('truncate', true);
  const [fast, slow] = [turn(s.number('beta_fast', 32)), turn(s.number('beta_slow', 1))];
  const low = Math.max(whole ? Math.floor(fast) : fast, 0);
  const high = Math.min(whole ? Math.ceil(slow) : slow, dim - 1);
  const span = high === low ? 0.001 : high - low;
  const inverse = plain.map((f, i) => {
    const ramp = Math.min(1, Math.max(0, (i - low) / span));
    return (f / factor) * ramp + f * (1 - ramp);
  });
  return { inverse, attention: s.number('attention_factor', yarnAttention(s, factor)) };
}

/** arXiv 2309.00071, equation 22. */
function yarnAttention(s: Fields, factor: number): number {
  const scale = (m: number) => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  const [one, all] = [s.number('mscale', 0), s.number('mscale_all_dim', 0)];
  return one && all ? scale(one) / scale(all) : scale(1);
}
