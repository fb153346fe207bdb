import { add, gradients, input, mul, type NDArray, program, sum, type Tensor } from '../graph/index.ts';
import type { BatchInputs } from '../models/architecture.ts';
import { type BatchShape, batchInputs, shapeKey } from './batch-feeds.ts';
import {
  addAll,
  beginTrace,
  type ConsumeGradient,
  compileStretch,
  type Execution,
  factorArrays,
  type Setup,
  type Stretch,
  stretchFeeds,
  type Trace,
} from './execution.ts';
import { supervisedLoss } from './objective.ts';

/** A stage of the model: embedding, one block, or the head with the loss. */
interface Stage {
  readonly forward?: Stretch;
  readonly backward?: Stretch;
  /** Trainable tensors whose gradients the stage contributes to. */
  readonly trains: readonly string[];
  /** True where the stage hands a gradient further down. */
  readonly passes: boolean;
}

const X = 'stage:x';
const DY = 'stage:dy';

/**
 * One program a stage, run layer by layer: only the stages' inputs are kept, a stage's forward is computed again for
 * its backward, and each gradient is handed over as soon as no earlier stage adds to it.
 */
export function blockwiseExecution(setup: Setup): Execution {
  const arrays = factorArrays(setup.adaptation);
  const plans = new Map<string, Promise<Stage[]>>();
  return {
    async step(feeds, shape, draw, consume) {
      const key = shapeKey(shape);
      if (!plans.has(key)) plans.set(key, buildStages(setup, shape));
      const stages = await plans.get(key)!;
      const run = (stretch: Stretch, own: Record<string, NDArray>) =>
        stretch.executable.run(stretchFeeds(setup, arrays, stretch, { ...feeds, ...own }, draw));
      const inputs = await forward(setup, stages, run);
      return backward(setup, stages, inputs, run, consume);
    },
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
    setup.engine.ledger.hold('activations', `stage:${i}`, x.data.byteLength);
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
  const partial = new Map<string, NDArray>();
  let dy: NDArray | undefined;
  let loss = Number.NaN;
  for (let i = stages.length - 1; i >= 0; i--) {
    const stage = stages[i];
    if (!stage.backward) break;
    const result = await run(stage.backward, {
      ...(inputs[i] ? { [X]: inputs[i] } : {}),
      ...(dy ? { [DY]: dy } : {}),
    });
    delete inputs[i];
    setup.engine.ledger.free(`stage:${i - 1}`);
    if (result.loss) loss = Number(result.loss.data[0]);
    for (const name of stage.trains) await handOver(name, result[`d:${name}`], stages, i, partial, consume);
    dy = result.dx;
  }
  return loss;
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

type Body = (trace: Trace, x: Tensor | undefined, batch: BatchInputs) => Tensor;

async function buildStages(setup: Setup, shape: BatchShape): Promise<Stage[]> {
  const { architecture } = setup.model;
  const bodies: Body[] = [
    (t, _, batch) => architecture.embed(t.context, batch),
    ...Array.from(
      { length: architecture.blocks },
      (_, i): Body =>
        (t, x, batch) =>
          architecture.block(t.context, i, x!, batch),
    ),
  ];
  const stages: Stage[] = [];
  let hidden: Tensor | undefined;
  let trainsBelow = false;
  for (const body of bodies) {
    const stage = await buildStage(setup, shape, body, hidden, trainsBelow);
    stages.push(stage.stage);
    hidden = stage.y;
    trainsBelow ||= stage.stage.trains.length > 0;
  }
  stages.push(await buildHead(setup, shape, hidden!, trainsBelow));
  return stages;
}

/** Names of the trainable tensors that a traced result depends on. */
function usedTrainables(setup: Setup, result: Record<string, Tensor>): string[] {
  const used = new Set(program(result).inputs.map((i) => i.name));
  return setup.trainables.map((t) => t.info.name).filter((name) => used.has(name));
}

async function buildStage(
  setup: Setup,
  shape: BatchShape,
  body: Body,
  below: Tensor | undefined,
  passes: boolean,
) {
  const trace = beginTrace(setup, true);
  const x = below && input(X, below.shape);
  const y = body(trace, x, batchInputs(shape));
  const penalty = addAll(trace.penalties());
  const forwardStretch = await compileStretch(setup, program({ y }), trace);
  const trains = usedTrainables(setup, penalty ? { y, penalty } : { y });
  const wrt = [...trains.map(trace.symbol), ...(passes && x ? [x] : [])];
  let backwardStretch: Stretch | undefined;
  if (wrt.length > 0) {
    const along = sum(mul(y, input(DY, y.shape)));
    const grads = gradients(penalty ? add(along, penalty) : along, wrt);
    const outputs: Record<string, Tensor> = {};
    trains.forEach((name, i) => {
      outputs[`d:${name}`] = grads[i];
    });
    if (passes && x) outputs.dx = grads[trains.length];
    backwardStretch = await compileStretch(setup, program(outputs), trace);
  }
  return { stage: { forward: forwardStretch, backward: backwardStretch, trains, passes }, y };
}

async function buildHead(setup: Setup, shape: BatchShape, below: Tensor, passes: boolean): Promise<Stage> {
  const trace = beginTrace(setup, true);
  const batch = batchInputs(shape);
  const x = input(X, below.shape);
  const output = setup.model.architecture.head(trace.context, x, batch);
  const loss = supervisedLoss(output, batch.targets, batch.weights);
  const penalty = addAll(trace.penalties());
  const trains = usedTrainables(setup, penalty ? { loss, penalty } : { loss });
  const grads = gradients(penalty ? add(loss, penalty) : loss, [...trains.map(trace.symbol), x]);
  const outputs: Record<string, Tensor> = { loss };
  trains.forEach((name, i) => {
    outputs[`d:${name}`] = grads[i];
  });
  if (passes) outputs.dx = grads[trains.length];
  return { backward: await compileStretch(setup, program(outputs), trace), trains, passes };
}
