import { z } from 'zod';
import {
  add,
  div,
  maximum,
  mean,
  minimum,
  mul,
  pow,
  sqrt,
  sub,
  type Tensor,
  unsqueeze,
} from '../graph/index.ts';
import { decayOf } from './adamw.ts';
import { defineOptimizer, type ParameterInfo, type StateSpec } from './optimizer.ts';
import { average, type Piece, type PieceContext, perParameter } from './pieces.ts';

export const adafactorOptions = z.strictObject({
  relativeStep: z
    .boolean()
    .default(false)
    .describe('steps of min(0.01, 1/√t) in place of the recipe’s rate and schedule'),
  warmupInit: z.boolean().default(false).describe('relative steps begin at 1e-6 t'),
  scaleParameter: z.boolean().default(false).describe('steps in proportion to each tensor’s own size'),
  clipThreshold: z.number().positive().default(1).describe('largest root mean square of an update'),
  decayRate: z
    .number()
    .max(0)
    .default(-0.8)
    .describe('the second moment’s decay is 1 − t to the power of this'),
  beta1: z
    .number()
    .min(0)
    .max(0.99999)
    .optional()
    .describe('decay of a first moment (default: there is none)'),
  squareEpsilon: z.number().positive().default(1e-30).describe('added to squared gradients'),
  scaleEpsilon: z.number().positive().default(1e-3).describe('smallest size of a tensor (scaleParameter)'),
  weightDecay: z
    .number()
    .min(0)
    .default(0)
    .describe('decoupled weight decay; norms and biases are not decayed'),
});

export type AdafactorOptions = z.infer<typeof adafactorOptions>;

const checked = adafactorOptions.refine((o) => !o.warmupInit || o.relativeStep, {
  path: ['warmupInit'],
  error: 'needs relativeStep',
});

type State = Readonly<Record<string, Tensor>>;

function rootMeanSquare(x: Tensor): Tensor {
  return sqrt(mean(mul(x, x)));
}

/** The step size of a tensor: η or the relative one, in proportion to the tensor where asked for. */
function stepSize({ parameter, rate, step }: PieceContext, o: AdafactorOptions): Tensor {
  const most = o.warmupInit ? mul(step, 1e-6) : 1e-2;
  const relative = minimum(div(1, sqrt(step)), most);
  const base = o.relativeStep ? relative : rate;
  return o.scaleParameter ? mul(base, maximum(rootMeanSquare(parameter), o.scaleEpsilon)) : base;
}

/** Over the last two axes of a matrix means of rows and of columns, else everything. */
function secondMoment({ shape }: ParameterInfo, o: AdafactorOptions) {
  const factored = shape.length >= 2;
  const specs: Record<string, StateSpec> = factored
    ? {
        row: { shape: shape.slice(0, -1), moment: 2 },
        column: { shape: [...shape.slice(0, -2), shape[shape.length - 1]], moment: 2 },
      }
    : { v: { shape, moment: 2 } };
  // β₂ of this step falls short of 1 by t^c.
  const averaged = (old: Tensor, fresh: Tensor, step: Tensor) => {
    const share = pow(step, o.decayRate);
    return add(mul(old, sub(1, share)), mul(fresh, share));
  };
  return {
    specs,
    /** G / √V̂, V̂ the outer product of row and column means over their common mean. */
    apply(g: Tensor, s: State, step: Tensor): { direction: Tensor; state: State } {
      const squares = add(mul(g, g), o.squareEpsilon);
      if (!factored) {
        const v = averaged(s.v, squares, step);
        return { direction: div(g, sqrt(v)), state: { v } };
      }
      const row = averaged(s.row, mean(squares, -1), step);
      const column = averaged(s.column, mean(squares, -2), step);
      const ofRows = unsqueeze(sqrt(div(row, mean(row, -1, true))), -1);
      const ofColumns = unsqueeze(sqrt(column), -2);
      // Each root by itself: their product would leave float32 where gradients vanish.
      return { direction: div(div(g, ofColumns), ofRows), state: { row, column } };
    },
  };
}

function adafactorPiece(parameter: ParameterInfo, o: AdafactorOptions): Piece {
  const second = secondMoment(parameter, o);
  const decay = decayOf(parameter, o.weightDecay);
  const first: Record<string, StateSpec> =
    o.beta1 === undefined ? {} : { m: { shape: parameter.shape, moment: 1 } };
  return {
    state: () => ({ ...second.specs, ...first }),
    apply(g, state, context) {
      const eta = stepSize(context, o);
      const { direction, state: next } = second.apply(g, state, context.step);
      const over = maximum(div(rootMeanSquare(direction), o.clipThreshold), 1);
      const sized = mul(direction, div(eta, over));
      const moved = o.beta1 === undefined ? sized : average(state.m, sized, o.beta1);
      const kept = decay === 0 ? moved : add(moved, mul(context.parameter, mul(eta, decay)));
      return { direction: kept, state: { ...next, ...(o.beta1 !== undefined && { m: moved }) } };
    },
  };
}

/** Adafactor (Shazeer and Stern 2018, arXiv 1804.04235), as in transformers: Adam's second moment by its row and column means. */
export const adafactor = defineOptimizer<AdafactorOptions>({
  name: 'adafactor',
  title: 'Adafactor: Adaptive Learning Rates with Sublinear Memory Cost',
  paper: 'Shazeer and Stern, ICML 2018, arXiv 1804.04235',
  whenToChoose: 'Hardly any state for matrices, without a subspace or turns.',
  stateFormula: 'm + n; with a first moment m n more',
  options: checked,
  rules: (parameters, o) => perParameter(parameters, (p) => adafactorPiece(p, o)),
});
