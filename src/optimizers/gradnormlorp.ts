import { z } from 'zod';
import { RankineError } from '../errors.ts';
import { mul, type Shape, sizeOf, sub } from '../graph/index.ts';
import { decayOf } from './adamw.ts';
import { inEightBits } from './eight-bit.ts';
import { suffixed } from './factor-pairs.ts';
import { hfAdamOptions } from './galore.ts';
import { defineOptimizer, type ParameterInfo, type UpdateRule } from './optimizer.ts';
import { byRateThenDecay, chain, type Piece, pieceRule, scaleByAdam } from './pieces.ts';
import { type ProjectionOptions, projected, projection, projectionOptions } from './projection.ts';
import { isMatrix } from './select.ts';
import { alongRow, joined, ratioState, splitGradient, splitWeight, tangentGradient } from './weight-norm.ts';

export const gradNormLorpOptions = hfAdamOptions.extend({
  ...projectionOptions.shape,
  rank: z
    .number()
    .int()
    .min(1)
    .optional()
    .describe('dimensions of the subspace (default: 128; of an adapter’s factors half their rank)'),
  bits: z
    .union([z.literal(32), z.literal(8)])
    .default(32)
    .describe('bits of each moment'),
  magnitudeRate: z.number().min(0).default(1).describe('rate of the magnitudes g as a multiple of η'),
  mode: z
    .enum(['corrected', 'reference'])
    .default('corrected')
    .describe('reference: as the released optimizer, which forgets g before every step'),
});

export type GradNormLorpOptions = z.infer<typeof gradNormLorpOptions>;

/** Tensors with fewer elements keep 32-bit moments, as bitsandbytes does. */
const SMALLEST = 4096;

/** Adam whose moments are of this shape. */
function adamOf(shape: Shape, o: GradNormLorpOptions): Piece {
  const adam = scaleByAdam({ ...o, form: 'hf' });
  return o.bits === 8 && sizeOf(shape) >= SMALLEST ? inEightBits(adam, { m: true, v: false }) : adam;
}

/** Adam in the subspace of a tensor's gradient, lifted and scaled. */
function projectedAdam(parameter: ParameterInfo, rank: number, o: GradNormLorpOptions): Piece {
  const own: ProjectionOptions = { ...o, rank };
  const { shape } = projection('gradnormlorp', parameter, own);
  return projected('gradnormlorp', parameter, own, adamOf(shape, o));
}

/** Form A: a factor of an adapter, whose own form (DoRA) holds the magnitudes. */
function factorRule(parameter: ParameterInfo, o: GradNormLorpOptions): UpdateRule {
  // A factor lies as it is, however the checkpoint stores its layer's weight.
  const plain = { ...parameter, layer: undefined };
  const rank = o.rank ?? Math.max(1, Math.floor(Math.min(...parameter.shape) / 2));
  return pieceRule(parameter, chain(projectedAdam(plain, rank, o), byRateThenDecay(o.weightDecay)));
}

/** Form B: W = g ∘ V/‖V‖; V by GaLore on the true gradient of the normalization, g by Adam. */
function matrixRule(parameter: ParameterInfo, o: GradNormLorpOptions): UpdateRule {
  const axis = alongRow(parameter);
  const rank = o.rank ?? projectionOptions.shape.rank.parse(undefined);
  const space = projection('gradnormlorp', parameter, { ...o, rank });
  const forV = projectedAdam(parameter, rank, o);
  const spec = ratioState(parameter);
  const forG = suffixed(adamOf(spec.shape, o), 'G');
  const decayed = byRateThenDecay(o.weightDecay);
  const released = o.mode === 'reference';
  return {
    parameters: [parameter],
    state: { ratio: spec, ...forV.state(parameter), ...forG.state({ ...parameter, shape: spec.shape }) },
    update({ parameters: [W], gradients: [G], state, rate, step }) {
      const split = splitWeight(W, state.ratio, axis);
      const { V } = split;
      const exact = splitGradient(split, G, axis);
      const g = released ? split.length : split.magnitude;
      const ofV = forV.apply(released ? G : exact.V, state, { parameter: V, rate, step });
      const ofG = forG.apply(exact.magnitude, state, { parameter: g, rate, step });
      const stepV = decayed.apply(ofV.direction, {}, { parameter: V, rate, step }).direction;
      const ofRate = { parameter: g, rate: mul(rate, o.magnitudeRate), step };
      const stepG = decayed.apply(ofG.direction, {}, ofRate).direction;
      const next = joined(sub(V, stepV), sub(g, stepG), axis);
      return { parameters: [next.W], state: { ...ofV.state, ...ofG.state, ratio: next.ratio } };
    },
    prepare(inputs) {
      const { parameters, gradients, state } = inputs;
      if (!space.due(inputs)) return;
      const seen = released ? gradients[0] : tangentGradient(parameters[0], state.ratio, gradients[0], axis);
      space.prepare({ ...inputs, gradients: [seen] });
    },
  };
}

/** What is neither normalized nor a factor. */
function plainRule(parameter: ParameterInfo, o: GradNormLorpOptions): UpdateRule {
  // The rare rows of an embedding suffer most from few bits.
  const bits = parameter.role === 'embedding' ? 32 : o.bits;
  const decay = decayOf(parameter, o.weightDecay);
  return pieceRule(parameter, chain(adamOf(parameter.shape, { ...o, bits }), byRateThenDecay(decay)));
}

/** @throws RankineError `optimizers/no-magnitudes` */
function requireMagnitudes(parameters: readonly ParameterInfo[]): void {
  if (parameters.some((p) => isMatrix(p) || p.factor === 'magnitude')) return;
  throw new RankineError(
    'optimizers/no-magnitudes',
    'gradnormlorp splits weights into magnitudes and directions, but this run trains neither whole matrices nor magnitudes.',
    'Train all weights (no adapter), or take the adapter dora.',
  );
}

/**
 * GradNormLoRP (Huang et al. 2024, arXiv 2412.19616): weights split into magnitudes and directions, gradients of the
 * directions projected before Adam. With the adapter dora (form A) the factors' gradients are projected; without an
 * adapter (form B) those of whole matrices.
 */
export const gradNormLorp = defineOptimizer({
  name: 'gradnormlorp',
  title: 'Gradient Weight-normalized Low-rank Projection for Efficient LLM Training',
  paper: 'Huang et al., AAAI 2025, arXiv 2412.19616',
  whenToChoose: 'DoRA with half of its optimizer state, or GaLore with a magnitude for each output.',
  stateFormula: '2 max(m, n) r + min(m, n) r + 3 m; of factors of rank k: 2 r (m + n) + 2 k r',
  options: gradNormLorpOptions,
  rules(parameters, o) {
    requireMagnitudes(parameters);
    return parameters.map((p) => {
      if (isMatrix(p)) return matrixRule(p, o);
      return p.role === 'factor' && p.shape.length === 2 ? factorRule(p, o) : plainRule(p, o);
    });
  },
});
