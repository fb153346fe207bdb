import { type AdapterOptions, forms } from '../../../src/adapters/index.ts';
import type { Engine } from '../../../src/engine/index.ts';
import {
  abs,
  add,
  div,
  exp,
  input,
  log,
  maximum,
  mean,
  mul,
  neg,
  program,
  sigmoid,
  square,
  sub,
  sum,
  type Tensor,
} from '../../../src/graph/index.ts';
import { random } from '../../../src/linalg/index.ts';
import type { Model } from '../../../src/models/index.ts';
import { optimizers } from '../../../src/optimizers/index.ts';
import { type Adaptation, adapt } from '../../../src/training/adaptation.ts';
import {
  beginTrace,
  compileStretch,
  derivatives,
  gradientName,
  type Setup,
  type Stretch,
  traceModel,
} from '../../../src/training/execution.ts';
import { createFeeder } from '../../../src/training/feeder.ts';
import { clipFactor, globalNorm } from '../../../src/training/gradient-norm.ts';
import { schedule } from '../../../src/training/schedules.ts';
import { countTrainable, trainables } from '../../../src/training/trainables.ts';
import { createUpdates } from '../../../src/training/updates.ts';
import { AREA, batchOf, dice, type Picture, SIDE, turned } from './pictures.ts';

/** What is adapted and how. */
export interface Treatment {
  /** A weight form with options, beside which the head is trained; undefined: every weight. */
  readonly form?: { readonly method: string; readonly options: Record<string, unknown> };
  readonly rate: number;
  readonly steps: number;
  readonly batch: number;
  readonly seed: number;
}

export interface Segmenter {
  readonly setup: Setup;
  readonly trainable: number;
}

/** Pictures of an update: the same for every treatment of one seed. */
export type Draw = (step: number) => readonly Picture[];

/** Batches from a few pictures in random order, each turned or mirrored at random. */
export function drawFrom(pictures: readonly Picture[], batch: number, seed: number): Draw {
  return (step) => {
    const cursor = random(seed, `segmenter/batch/${step}`).cursor();
    const order = cursor.permutation(pictures.length);
    return Array.from({ length: batch }, (_, b) =>
      turned(pictures[order[b % order.length]], cursor.integer(8)),
    );
  };
}

/** A copy of the model as a run begins with it; the model itself stays as it is. */
export async function beginSegmenter(engine: Engine, base: Model, treatment: Treatment): Promise<Segmenter> {
  const model = copyOf(base);
  const adaptation = await adapted(model, treatment);
  const list = trainables(model, adaptation);
  const setup: Setup = { engine, model, adaptation, trainables: list, seed: treatment.seed };
  return { setup, trainable: countTrainable(list) };
}

/** Trains a copy of the model with AdamW under a falling rate. */
export async function trainSegmenter(
  engine: Engine,
  base: Model,
  treatment: Treatment,
  draw: Draw,
): Promise<Segmenter> {
  const { rate, steps, batch, seed } = treatment;
  const begun = await beginSegmenter(engine, base, treatment);
  const { setup } = begun;
  const list = setup.trainables;
  const adamw = optimizers.find((o) => o.name === 'adamw')!;
  const updates = createUpdates(engine, adamw, adamw.options.parse({}), list, seed);
  const rates = schedule({ kind: 'linear', warmup: 0.05, peak: rate, total: steps });
  const step = await compileStep(setup, batch);
  const feed = createFeeder(setup);
  for (let done = 0; done < steps; done++) {
    const { pixels, masks } = batchOf(draw(done));
    const feeds = feed(step, { [PIXELS]: pixels, [MASKS]: masks }, done);
    const result = await step.executable.run(feeds);
    const gradientOf = (name: string) => result[gradientName(name)];
    const norm = globalNorm(list.map((t) => gradientOf(t.info.name)));
    if (!Number.isFinite(norm)) throw new Error(`diverged in update ${done + 1}`);
    const scalars = { rate: rates(done), step: done + 1, clip: clipFactor(norm, 1) };
    for (const rule of updates.rules)
      await updates.apply(
        rule,
        rule.parameters.map((p) => gradientOf(p.name)),
        scalars,
      );
  }
  return begun;
}

/** Dice of each group of pictures (a section in pieces), as many in each. */
export async function diceOf(
  { setup }: Segmenter,
  groups: readonly (readonly Picture[])[],
): Promise<number[]> {
  const trace = beginTrace(setup, false);
  const odds = traceOdds(setup, trace, groups[0].length);
  const stretch = await compileStretch(setup, program({ odds }), trace);
  const feed = createFeeder(setup);
  const scores = [];
  for (const group of groups) {
    const feeds = feed(stretch, { [PIXELS]: batchOf(group).pixels }, 0);
    const data = (await stretch.executable.run(feeds)).odds.data as Float32Array;
    const predicted = group.map((_, b) => data.subarray(b * AREA, (b + 1) * AREA).map((v) => Number(v > 0)));
    scores.push(
      dice(
        predicted,
        group.map((picture) => picture.mask),
      ),
    );
  }
  return scores;
}

const [PIXELS, MASKS] = ['batch:pixels', 'batch:masks'];

function copyOf(model: Model): Model {
  const copied = [...model.weights].map(
    ([name, array]) => [name, { ...array, data: array.data.slice() }] as const,
  );
  return { ...model, weights: new Map(copied) };
}

async function adapted(
  model: Model,
  { form: chosen, rate, seed }: Treatment,
): Promise<Adaptation | undefined> {
  if (!chosen) return undefined;
  const form = forms.find((f) => f.name === chosen.method)!;
  const options = form.options.parse({ modulesToSave: ['head'], ...chosen.options }) as AdapterOptions;
  return adapt(model, form, options, { seed, firstRate: rate });
}

function traceOdds(setup: Setup, trace: ReturnType<typeof beginTrace>, count: number): Tensor {
  const head = traceModel(setup, trace, { pixels: input(PIXELS, [count, 1, SIDE, SIDE]) });
  return (head as { logits: Tensor }).logits;
}

function compileStep(setup: Setup, batch: number): Promise<Stretch> {
  const trace = beginTrace(setup, true);
  const loss = maskLoss(traceOdds(setup, trace, batch), input(MASKS, [batch, AREA]));
  const names = setup.trainables.map((t) => t.info.name);
  return compileStretch(setup, program({ ...derivatives(trace, loss, names), loss }), trace);
}

/** Weight of the focal loss beside Dice, as SAM is trained (Kirillov et al. 2023, arXiv 2304.02643). */
const FOCAL = 20;

/** Focal loss (γ = 2) and 1 − soft Dice of each picture. @param odds [B, AREA] @param masks [B, AREA] */
export function maskLoss(odds: Tensor, masks: Tensor): Tensor {
  const p = sigmoid(odds);
  // −log of the probability of the right answer, without overflow.
  const surprise = add(sub(maximum(odds, 0), mul(odds, masks)), log(add(exp(neg(abs(odds))), 1)));
  const wrong = sub(add(p, masks), mul(mul(p, masks), 2));
  const focal = mean(mul(square(wrong), surprise));
  const overlap = div(add(mul(sum(mul(p, masks), 1), 2), 1), add(add(sum(p, 1), sum(masks, 1)), 1));
  return add(mul(focal, FOCAL), sub(1, mean(overlap)));
}
