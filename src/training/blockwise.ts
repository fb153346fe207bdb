import { type NDArray, type Shape, sizeOf, zeros } from '../graph/index.ts';
import { sameShape } from '../graph/tensor.ts';
import { type BatchShape, shapeKey } from './batch-feeds.ts';
import {
  type ConsumeGradient,
  compileStretch,
  type Execution,
  gradientName,
  handObserved,
  type Observe,
  type Setup,
  type Stretch,
  turnsOf,
} from './execution.ts';
import { createFeeder } from './feeder.ts';
import { DY, gradientPlaces, ownPlace, partialName, type TracedStage, traceStages, X } from './stages.ts';

/** A stage of the model, compiled. */
interface Stage extends Pick<TracedStage, 'trains' | 'adds' | 'passes'> {
  /** Which array each gradient of `trains` is written into: equal keys share one. */
  readonly places: readonly string[];
  readonly forward?: Stretch;
  readonly backward?: Stretch;
  /** Shape of the hidden states that `forward` gives. */
  readonly hidden?: Shape;
}

/**
 * One program a stage, run layer by layer: only the stages' inputs are kept, a stage's forward is computed again for
 * its backward, and each gradient is handed over as soon as no earlier stage adds to it.
 */
export function blockwiseExecution(setup: Setup, options: BlockwiseOptions = {}): Execution {
  const feed = createFeeder(setup);
  const plans = new Map<string, Promise<Stage[]>>();
  const buffers = new Map<string, NDArray>();
  const shapes = shapesOf(setup.trainables);
  const turns = turnsOf(setup);
  const { ledger } = setup.engine;
  return {
    async step(feeds, shape, draw, { consume, observe, resting }) {
      const { moving, changed } = turns(resting);
      const ended = changed ? [...plans.values()] : [];
      if (changed) plans.clear();
      const key = shapeKey(shape, observe !== undefined);
      if (!plans.has(key))
        plans.set(key, compileStages(moving, shape, observe !== undefined, options.shareGradients ?? false));
      const stages = await plans.get(key)!;
      // Turns have most of their programs in common: the last one's go when this one's are there.
      for (const plan of ended) await releaseStages(await plan);
      if (changed) keepPlaces(stages, buffers);
      const hold = (name: string, shape: Shape) => heldArray(name, shape, buffers);
      const run: Run = (stretch, own, into) =>
        stretch.executable.run(feed(stretch, { ...feeds, ...own }, draw), into);
      const lend = (at: number) => gradientArrays(stages[at], shapes, buffers);
      const inputs = await forward(setup, stages, run, hold);
      const loss = await backward(setup, stages, inputs, run, { lend, hold }, { consume, observe });
      await consumeUnused(moving, stages, consume);
      return loss;
    },
    release: (name) => ledger.free(gradientName(name)),
  };
}

export interface BlockwiseOptions {
  /**
   * True where `consume` is done with a gradient when it returns: gradients of one shape then share their arrays. Else
   * (default) every gradient stays as it is until the next step.
   */
  readonly shareGradients?: boolean;
}

type Run = (
  stretch: Stretch,
  own: Record<string, NDArray>,
  into?: Record<string, NDArray>,
) => Promise<Record<string, NDArray>>;

/** An array that every step writes anew: fresh ones would wait for the garbage collector. Shapes of a place share it. */
function heldArray(place: string, shape: Shape, buffers: Map<string, NDArray>): NDArray {
  const held = buffers.get(place);
  const size = sizeOf(shape);
  if (held && held.data.length >= size)
    return sameShape(held.shape, shape) ? held : { ...held, shape, data: held.data.subarray(0, size) };
  const array = zeros(shape);
  buffers.set(place, array);
  return array;
}

/** Lets go of gradients' arrays that these stages have no place for; what is kept spares the next turn new ones. */
function keepPlaces(stages: readonly Stage[], buffers: Map<string, NDArray>): void {
  const wanted = new Set(stages.flatMap(({ places }) => places));
  for (const name of [...buffers.keys()])
    if (!wanted.has(name) && !name.startsWith(HIDDEN)) buffers.delete(name);
}

/** Places of hidden states and of what comes back for them, which all turns have in common. */
const HIDDEN = 'hidden:';

/** Arrays for a stage's gradients. */
function gradientArrays(
  { trains, places }: Stage,
  shapes: ReadonlyMap<string, Shape>,
  buffers: Map<string, NDArray>,
): Record<string, NDArray> {
  return Object.fromEntries(
    trains.map((name, i) => [gradientName(name), heldArray(places[i], shapes.get(name)!, buffers)]),
  );
}

function shapesOf(trainables: Setup['trainables']): ReadonlyMap<string, Shape> {
  return new Map(trainables.map((t) => [t.info.name, t.info.shape]));
}

type Hold = (name: string, shape: Shape) => NDArray;

/** The input of every stage but the first. */
async function forward(setup: Setup, stages: readonly Stage[], run: Run, hold: Hold): Promise<NDArray[]> {
  const inputs: NDArray[] = [];
  let x: NDArray | undefined;
  for (const [i, stage] of stages.entries()) {
    if (!stage.forward) continue;
    const y = hold(`${HIDDEN}${i}`, stage.hidden!);
    x = (await run(stage.forward, x ? { [X]: x } : {}, { y })).y;
    inputs[i + 1] = x;
    setup.engine.ledger.hold('activations', `stage:${i + 1}`, x.data.byteLength);
  }
  return inputs;
}

async function backward(
  setup: Setup,
  stages: readonly Stage[],
  inputs: NDArray[],
  run: Run,
  { lend, hold }: { lend: (at: number) => Record<string, NDArray>; hold: Hold },
  { consume, observe }: { consume: ConsumeGradient; observe?: Observe },
): Promise<number> {
  const { ledger } = setup.engine;
  let dy: NDArray | undefined;
  let loss = Number.NaN;
  for (let i = stages.length - 1; i >= 0; i--) {
    const stage = stages[i];
    if (stage.backward) {
      const lent = lend(i);
      const own = {
        ...(inputs[i] ? { [X]: inputs[i] } : {}),
        ...(dy ? { [DY]: dy } : {}),
        ...Object.fromEntries(stage.adds.map((name) => [partialName(name), lent[gradientName(name)]])),
      };
      // Two that take turns: a stage reads the one and writes the other.
      const dx = stage.passes && { dx: hold(`${HIDDEN}back/${i % 2}`, stages[i - 1].hidden!) };
      const result = await run(stage.backward, own, { ...lent, ...dx });
      handObserved(result, observe);
      if (result.loss) loss = Number(result.loss.data[0]);
      for (const name of stage.trains) ledger.hold('gradients', gradientName(name), bytes(result, name));
      const earlier = new Set(stages.slice(0, i).flatMap(({ trains }) => trains));
      for (const name of stage.trains)
        if (!earlier.has(name)) await consume(name, result[gradientName(name)]);
      dy = result.dx;
    }
    delete inputs[i];
    ledger.free(`stage:${i}`);
  }
  return loss;
}

function bytes(result: Record<string, NDArray>, name: string): number {
  return result[gradientName(name)].data.byteLength;
}

/** Tensors that the loss does not depend on: their gradients are zero, as in a whole step. */
async function consumeUnused(
  setup: Setup,
  stages: readonly Stage[],
  consume: ConsumeGradient,
): Promise<void> {
  for (const { info } of setup.trainables)
    if (!stages.some((s) => s.trains.includes(info.name))) await consume(info.name, zeros(info.shape));
}

/** Stages run one after the other: each gives its memory back to the next. */
const IN_TURN = { arena: false };

async function compileStages(
  setup: Setup,
  shape: BatchShape,
  observing: boolean,
  share: boolean,
): Promise<Stage[]> {
  const traced = traceStages(setup, shape, observing);
  const shapes = shapesOf(setup.trainables);
  const places = share
    ? gradientPlaces(traced, (name) => shapes.get(name)!)
    : traced.map(({ trains }) => trains.map(ownPlace));
  const stages: Stage[] = [];
  for (const [at, { trace, forward, backward, trains, adds, passes }] of traced.entries())
    stages.push({
      forward: forward && (await compileStretch(setup, forward, trace, IN_TURN)),
      backward: backward && (await compileStretch(setup, backward, trace, IN_TURN)),
      hidden: forward?.outputs.y.shape,
      trains,
      adds,
      passes,
      places: places[at],
    });
  return stages;
}

async function releaseStages(stages: readonly Stage[]): Promise<void> {
  for (const { forward, backward } of stages) {
    await forward?.executable.release();
    await backward?.executable.release();
  }
}
