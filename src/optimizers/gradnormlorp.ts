import { z } from 'zod';
import { RankineError } from '../errors.ts';
import { mul, scale, sizeOf, sub } from '../graph/index.ts';
import { wideNotices } from './adam-8bit.ts';
import { hfAdam } from './adam-forms.ts';
import { ruleAround } from './around-adams.ts';
import { bitsOf, galoreOptions, galoreRule, otherRule } from './galore.ts';
import { defineOptimizer, type ParameterInfo, type UpdateRule } from './optimizer.ts';
import { byRateThenDecay } from './pieces.ts';
import { projection } from './projection.ts';
import { isMatrix, requireRank } from './select.ts';
import { alongRow, joined, ratioState, splitGradient, splitWeight, tangentGradient } from './weight-norm.ts';

export const gradNormLorpOptions = galoreOptions.extend({
  rank: z
    .number()
    .int()
    .min(1)
    .optional()
    .describe('dimensions of the subspace (default: 128; of an adapter’s factors half their rank)'),
  magnitudeRate: z.number().min(0).default(1).describe('rate of the magnitudes g as a multiple of η'),
  mode: z
    .enum(['corrected', 'reference'])
    .default('corrected')
    .describe('reference: as the released optimizer, which forgets g before every step'),
});

export type GradNormLorpOptions = z.infer<typeof gradNormLorpOptions>;

/** A matrix of an adapter, whose own form (DoRA) holds the magnitudes. */
function isFactorMatrix({ role, shape }: ParameterInfo): boolean {
  return role === 'factor' && shape.length === 2;
}

/** The options with the rank of this parameter's subspace. */
function withRank(parameter: ParameterInfo, o: GradNormLorpOptions) {
  const usual = isFactorMatrix(parameter)
    ? Math.max(1, Math.floor(Math.min(...parameter.shape) / 2))
    : galoreOptions.shape.rank.parse(undefined);
  return { ...o, rank: o.rank ?? usual };
}

/** Form A: a factor lies as it is, however the checkpoint stores its layer's weight. */
function factorRule(parameter: ParameterInfo, o: GradNormLorpOptions): UpdateRule {
  return galoreRule({ ...parameter, layer: undefined }, withRank(parameter, o), 'gradnormlorp');
}

/** Form B: W = g ∘ V/‖V‖; V by GaLore on the true gradient of the normalization, g by Adam. */
function matrixRule(parameter: ParameterInfo, o: GradNormLorpOptions): UpdateRule {
  const axis = alongRow(parameter);
  const space = projection('gradnormlorp', parameter, withRank(parameter, o));
  const ratio = ratioState(parameter);
  const adam = (shape: readonly number[]) =>
    ({ form: hfAdam(o), shape, bits: bitsOf({ shape }, o) }) as const;
  const decayed = byRateThenDecay(o.weightDecay);
  const released = o.mode === 'reference';
  return ruleAround(
    {
      parameters: [parameter],
      state: { ...space.state, ratio },
      before({ parameters: [W], gradients: [G], state }) {
        const exact = splitGradient(splitWeight(W, state.ratio, axis), G, axis);
        return { V: space.down(released ? G : exact.V, state), G: exact.magnitude };
      },
      after({ parameters: [W], state, rate, step }, _, directions) {
        const { V, length, magnitude } = splitWeight(W, state.ratio, axis);
        const g = released ? length : magnitude;
        const ofV = scale(space.up(directions.V, state), o.scale);
        const stepV = decayed.apply(ofV, {}, { parameter: V, rate, step }).direction;
        const ofRate = { parameter: g, rate: mul(rate, o.magnitudeRate), step };
        const stepG = decayed.apply(directions.G, {}, ofRate).direction;
        const next = joined(sub(V, stepV), sub(g, stepG), axis);
        return { parameters: [next.W], state: { ratio: next.ratio } };
      },
      prepare(inputs) {
        const { parameters, gradients, state } = inputs;
        if (!space.due(inputs)) return;
        const seen = released
          ? gradients[0]
          : tangentGradient(parameters[0], state.ratio, gradients[0], axis);
        space.prepare({ ...inputs, gradients: [seen] });
      },
    },
    { V: adam(space.shape), G: { ...adam(ratio.shape), suffix: 'G' } },
  );
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

function notices(parameters: readonly ParameterInfo[], o: GradNormLorpOptions): string[] {
  const saved = parameters.filter((p) => isFactorMatrix(p) && withRank(p, o).rank < Math.min(...p.shape));
  const turned = parameters.filter((p) => isFactorMatrix(p) && !saved.includes(p));
  const size = (p: ParameterInfo) =>
    isMatrix(p) || isFactorMatrix(p)
      ? sizeOf(projection('gradnormlorp', p, withRank(p, o)).shape)
      : sizeOf(p.shape);
  return [
    ...(turned.length > 0
      ? [
          `gradnormlorp: a subspace of the factors' own rank saves nothing (${turned[0].name}): give a smaller rank.`,
        ]
      : []),
    ...(o.bits === 8 ? wideNotices('gradnormlorp', parameters, { ...o, embeddings: '32-bit' }, size) : []),
  ];
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
  notices,
  rules(parameters, o) {
    requireMagnitudes(parameters);
    // By default a factor's rank is half its own.
    const given = parameters.filter((p) => isMatrix(p) || (o.rank !== undefined && isFactorMatrix(p)));
    if (given.length > 0) requireRank('gradnormlorp', given, withRank(given[0], o).rank);
    return parameters.map((p) => {
      if (isMatrix(p)) return matrixRule(p, o);
      return isFactorMatrix(p) ? factorRule(p, o) : otherRule(p, o);
    });
  },
});
