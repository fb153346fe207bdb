import { type NDArray, zeros } from '../graph/index.ts';
import { type BatchShape, shapeKey } from './batch-feeds.ts';
import {
  type ConsumeGradient,
  compileStretch,
  type Execution,
  factorArrays,
  gradientName,
  type Setup,
  type Stretch,
  stretchFeeds,
} from './execution.ts';
import { DY, type TracedStage, traceStages, X } from './stages.ts';

/** A stage of the model, compiled. */
interface Stage extends Pick<TracedStage, 'trains' | 'passes'> {
  readonly forward?: Stretch;
  readonly backward?: Stretch;
}

/**
 * One program a stage, run layer by layer: only the stages' inputs are kept, a stage's forward is computed again for
 * its backward, and each gradient is handed over as soon as no earlier stage adds to it.
 */
export function blockwiseExecution(setup: Setup): Execution {
  const arrays = factorArrays(setup.adaptation);
  const plans = new Map<string, Promise<Stage[]>>();
  const { ledger } = setup.engine;
  return {
    async step(feeds, shape, draw, consume) {
      const key = shapeKey(shape);
      if (!plans.has(key)) plans.set(key, compileStages(setup, shape));
      const stages = await plans.get(key)!;
      const run = (stretch: Stretch, own: Record<string, NDArray>) =>
        stretch.executable.run(stretchFeeds(setup, arrays, stretch, { ...feeds, ...own }, draw));
      const inputs = await forward(setup, stages, run);
      const loss = await backward(setup, stages, inputs, run, consume);
      await consumeUnused(setup, stages, consume);
      return loss;
    },
    release: (name) => ledger.free(gradientName(name)),
  };
}

type Run = (stretch: Stretch, own: Record<string, NDArray>) => Promise<Record<string, NDArray>>;

/** The input of every stage but the first. */
async function forward(setup: Setup, stages: readonly Stage[], run: Run): Promise<NDArray[]> {
  const inputs: NDArray[] = [];
  let x: NDArray | undefined;
  for (const [i, stage] of stages.entries()) {
    if (!stage.forward) continue;
    x = (await run(stage.forward, x ? { [X]: x } : {})).y;
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
  consume: ConsumeGradient,
): Promise<number> {
  const { ledger } = setup.engine;
  const partial = new Map<string, NDArray>();
  let dy: NDArray | undefined;
  let loss = Number.NaN;
  for (let i = stages.length - 1; i >= 0; i--) {
    const stage = stages[i];
    if (stage.backward) {
      const result = await run(stage.backward, {
        ...(inputs[i] ? { [X]: inputs[i] } : {}),
        ...(dy ? { [DY]: dy } : {}),
      });
      if (result.loss) loss = Number(result.loss.data[0]);
      for (const name of stage.trains) ledger.hold('gradients', gradientName(name), bytes(result, name));
      for (const name of stage.trains)
        await handOver(name, result[gradientName(name)], stages, i, partial, consume);
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

/** Adds up a tensor that several stages use (tied embeddings) and gives it away at the first of them. */
async function handOver(
  name: string,
  gradient: NDArray,
  stages: readonly Stage[],
  at: number,
  partial: Map<string, NDArray>,
  consume: ConsumeGradient,
): Promise<void> {
  const before = partial.get(name);
  if (before) {
    const [into, from] = [before.data as Float32Array, gradient.data as Float32Array];
    for (let i = 0; i < into.length; i++) into[i] += from[i];
  }
  const total = before ?? gradient;
  if (stages.slice(0, at).some((s) => s.trains.includes(name))) partial.set(name, total);
  else {
    partial.delete(name);
    await consume(name, total);
  }
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

async function compileStages(setup: Setup, shape: BatchShape): Promise<Stage[]> {
  const stages: Stage[] = [];
  for (const { trace, forward, backward, trains, passes } of traceStages(setup, shape))
    stages.push({
      forward: forward && (await compileStretch(setup, forward, trace)),
      backward: backward && (await compileStretch(setup, backward, trace)),
      trains,
      passes,
    });
  return stages;
}
