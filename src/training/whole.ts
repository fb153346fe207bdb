import { add, type NDArray, type Program, program, zeros } from '../graph/index.ts';
import { type BatchShape, batchInputs, shapeKey } from './batch-feeds.ts';
import {
  beginTrace,
  compileStretch,
  derivatives,
  type Execution,
  everObserves,
  gradientName,
  handObserved,
  type Setup,
  type Stretch,
  type Trace,
  type Traced,
  traceModel,
  turnsOf,
} from './execution.ts';
import { createFeeder } from './feeder.ts';
import { supervisedLoss } from './objective.ts';

/** Forward, loss and backward in one graph: the fastest. */
export function wholeExecution(setup: Setup): Execution {
  const feed = createFeeder(setup);
  const stretches = new Map<string, Promise<Stretch>>();
  const turns = turnsOf(setup);
  const buffers = new Map<string, NDArray>();

  /** A program holds the memory of its run: those of the last turn go before others are made. */
  async function begin(moving: Setup): Promise<void> {
    for (const stretch of stretches.values()) await (await stretch).executable.release();
    stretches.clear();
    fitBuffers(buffers, moving);
  }

  return {
    async step(feeds, shape, draw, { consume, observe, resting }) {
      const { moving, changed } = turns(resting);
      if (changed) await begin(moving);
      const key = shapeKey(shape, observe !== undefined);
      if (!stretches.has(key)) stretches.set(key, buildWhole(moving, shape, observe !== undefined));
      const stretch = await stretches.get(key)!;
      const into = Object.fromEntries(buffers);
      const result = await stretch.executable.run(feed(stretch, feeds, draw), into);
      handObserved(result, observe);
      for (const { info } of moving.trainables) await consume(info.name, into[gradientName(info.name)]);
      return Number(result.loss.data[0]);
    },
    release() {
      // The buffers are written again by every step.
    },
  };
}

/** An array for every gradient of these trainables, and for no other. */
function fitBuffers(buffers: Map<string, NDArray>, { engine, trainables }: Setup): void {
  const wanted = new Map(trainables.map(({ info }) => [gradientName(info.name), info.shape]));
  for (const name of [...buffers.keys()]) {
    if (wanted.has(name)) continue;
    buffers.delete(name);
    engine.ledger.free(name);
  }
  for (const [name, shape] of wanted) {
    if (buffers.has(name)) continue;
    const array = zeros(shape);
    buffers.set(name, array);
    engine.ledger.hold('gradients', name, array.data.byteLength);
  }
}

async function buildWhole(setup: Setup, shape: BatchShape, observing: boolean): Promise<Stretch> {
  const { result, trace } = traceWhole(setup, shape, observing);
  return compileStretch(setup, result, trace);
}

/**
 * The program of a whole step: `loss`, and every trainable's gradient under its `gradientName`.
 * @param observing default: where the form ever observes
 */
export function traceWhole(
  setup: Traced,
  shape: BatchShape,
  observing = everObserves(setup),
): { result: Program; trace: Trace } {
  const trace = beginTrace(setup, true, observing);
  const batch = batchInputs(shape);
  const loss = supervisedLoss(traceModel(setup, trace, batch), batch.targets, batch.weights);
  const penalty = trace.penalty();
  const names = setup.trainables.map((t) => t.info.name);
  const outputs = derivatives(trace, penalty ? add(loss, penalty) : loss, names);
  return { result: program({ ...outputs, loss }), trace };
}
