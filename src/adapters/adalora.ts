import { RankineError } from '../errors.ts';
import {
  add,
  constant,
  matmul,
  maximum,
  mul,
  type NDArray,
  reshape,
  scale,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  zeros,
} from '../graph/index.ts';
import {
  type BudgetSchedule,
  budgetAt,
  type Importance,
  masksAt,
  threshold,
  tripletScores,
  updateImportance,
} from './adalora-allocation.ts';
import { type AdaloraOptions, adaloraOptions, adaloraScale } from './adalora-options.ts';
import { adaloraFromPeft, adaloraToLora, adaloraToPeft } from './adalora-peft.ts';
import { checkRank } from './options.ts';
import { type AdaptedLayer, defineForm, type FormSteps, type StepInfo } from './weight-form.ts';

const STANDARD_DEVIATION = 0.02;
const FACTORS = ['e', 'A', 'B'] as const;

/**
 * AdaLoRA (Zhang et al. 2023, arXiv 2303.10512), as its reference code and PEFT: W = W₀ + s B diag(e) A whose triplets
 * are scored by sensitivity after every update; the weakest of all layers are switched off (e = 0) to fit a shrinking
 * budget.
 */
export const adalora = defineForm<AdaloraOptions>({
  name: 'adalora',
  title: 'AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning',
  paper: 'Zhang et al., ICLR 2023, arXiv 2303.10512',
  trainable: 'r (m + n + 1)',
  whenToChoose: 'One small rank budget for the whole model, spent on the layers that need it most.',
  options: adaloraOptions,
  kinds: ['linear'],
  sized: (rank) => ({ rank, targetRank: Math.max(1, Math.round((2 * rank) / 3)) }),
  shapes(layer, { rank }) {
    checkRank('AdaLoRA', layer, rank);
    return {
      trainable: { e: [rank], A: [rank, layer.in], B: [layer.out, rank] },
      frozen: {},
      // The mean and the spread of every number's importance.
      state: 2 * rank * (layer.out + layer.in + 1),
    };
  },
  init(layer, o, context) {
    checkRank('AdaLoRA', layer, o.rank);
    const draw = (name: string, shape: readonly number[]): NDArray => {
      const data = new Float32Array(shape[0] * shape[1]);
      context.random(name).fillNormal(data);
      return { dtype: 'float32', shape, data: data.map((x) => x * STANDARD_DEVIATION) };
    };
    const trainable = {
      e: zeros([o.rank]),
      A: draw('A', [o.rank, layer.in]),
      B: draw('B', [layer.out, o.rank]),
    };
    return { trainable, frozen: {} };
  },
  forward(x, base, p, o, c) {
    const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
    const low = mul(matmul(dropped, p.A, { transB: true }), p.e);
    return add(base.forward(x), matmul(low, p.B, { transB: true, alpha: adaloraScale(o) }));
  },
  weight: (base, p, o) => add(base, scale(matmul(mul(p.B, reshape(p.e, [1, o.rank])), p.A), adaloraScale(o))),
  penalty(p, o, layers) {
    const total = add(
      distance(matmul(p.A, p.A, { transB: true })),
      distance(matmul(p.B, p.B, { transA: true })),
    );
    return scale(total, o.orthogonality / (2 * layers));
  },
  steps: allocation,
  toPeft: adaloraToPeft,
  toLora: adaloraToLora,
  fromPeft: adaloraFromPeft,
});

/** ‖C − I‖_F, whose gradient stays finite at 0. */
function distance(gram: Tensor): Tensor {
  const [r] = gram.shape;
  const identity = zeros([r, r]);
  for (let i = 0; i < r; i++) identity.data[i * r + i] = 1;
  return sqrt(maximum(sum(square(sub(gram, constant(identity)))), 1e-24));
}

function allocation(
  o: AdaloraOptions,
  layers: readonly AdaptedLayer<AdaloraOptions>[],
): FormSteps<AdaloraOptions> {
  const state: Record<string, NDArray> = {};
  const importance = layers.map(({ spec, trainable }) =>
    Object.fromEntries(
      FACTORS.map((factor): [string, Importance] => {
        const own = { mean: zeros(trainable[factor].shape), spread: zeros(trainable[factor].shape) };
        for (const [name, array] of Object.entries(own)) state[`${spec.name}#${factor}/${name}`] = array;
        return [factor, own];
      }),
    ),
  );
  const scores = () => importance.map(({ e, A, B }) => tripletScores(e, A, B));
  const scheduleOf = (total: number): BudgetSchedule => ({
    initial: o.rank * layers.length,
    target: o.targetRank * layers.length,
    startSteps: o.startSteps,
    finalSteps: o.finalSteps,
    every: o.every,
    total,
  });
  return {
    state,
    beforeStep: ({ total }) => checkSchedule(o, total),
    afterStep(info: StepInfo<AdaloraOptions>) {
      const schedule = scheduleOf(info.total);
      if (info.step < info.total - o.finalSteps)
        for (const [i, layer] of layers.entries())
          for (const factor of FACTORS)
            updateImportance(
              importance[i][factor],
              layer.trainable[factor],
              info.gradient(layer, factor),
              o.beta1,
              o.beta2,
            );
      if (masksAt(info.step, schedule)) mask(layers, scores(), lastBudget(info.step, schedule));
      info.report(
        'adalora/live',
        layers.reduce((n, l) => n + liveCount(l.trainable.e), 0),
      );
      for (const l of layers) info.report(`adalora/rank/${l.spec.name}`, liveCount(l.trainable.e));
    },
  };
}

/** The last update of a run that has no final phase ends at the target too. */
function lastBudget(t: number, schedule: BudgetSchedule): number {
  return t === schedule.total - 1 ? schedule.target : budgetAt(t, schedule);
}

function mask(layers: readonly AdaptedLayer[], scores: readonly Float64Array[], budget: number): void {
  const limit = threshold(scores, budget);
  for (const [i, { trainable }] of layers.entries())
    for (const [k, score] of scores[i].entries()) if (score <= limit) trainable.e.data[k] = 0;
}

function liveCount(e: NDArray): number {
  return (e.data as Float32Array).reduce((n, x) => n + Number(x !== 0), 0);
}

/** @throws RankineError `adapters/adalora-schedule` */
function checkSchedule(o: AdaloraOptions, total: number): void {
  if (o.startSteps < total - o.finalSteps && o.targetRank <= o.rank) return;
  throw new RankineError(
    'adapters/adalora-schedule',
    o.targetRank > o.rank
      ? `AdaLoRA: the target rank ${o.targetRank} exceeds the initial rank ${o.rank}.`
      : `AdaLoRA: ${o.startSteps} updates before and ${o.finalSteps} after the allocation leave none of ${total} for it.`,
    o.targetRank > o.rank
      ? 'The budget only shrinks: use a smaller targetRank.'
      : 'Lower startSteps or finalSteps.',
  );
}
