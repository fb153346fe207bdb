import { add, input, mul, type Program, program, sum, type Tensor } from '../graph/index.ts';
import type { BatchInputs } from '../models/architecture.ts';
import { type BatchShape, batchInputs } from './batch-feeds.ts';
import { beginTrace, derivatives, everObserves, gradientName, type Trace, type Traced } from './execution.ts';
import { supervisedLoss } from './objective.ts';

/** A stage's input hidden states, and the gradient that arrives for its output. */
export const X = 'stage:x';
export const DY = 'stage:dy';

/** What later stages gave for a tensor's gradient, among the inputs of an earlier one that adds to it. */
export function partialName(trainable: string): string {
  return `stage:partial:${trainable}`;
}

/** A stage of the model, traced: embedding, one block, or the head with the loss. */
export interface TracedStage {
  readonly trace: Trace;
  /** `y`: the hidden states that the stage gives; absent for the head. */
  readonly forward?: Program;
  /** `loss` (head), `dx` where `passes`, and the gradients of `trains`; computes the stage's forward again. */
  readonly backward?: Program;
  /** Trainable tensors whose gradients the stage contributes to. */
  readonly trains: readonly string[];
  /** Those of them that a later stage has contributed to: `backward` adds to what it is fed. */
  readonly adds: readonly string[];
  /** True where the stage hands a gradient further down: something below it trains. */
  readonly passes: boolean;
}

/**
 * Which array each gradient is written into where it is spent before the next stage runs: gradients of one shape take
 * turns, but a tensor that several stages use has an array of its own.
 * @param shapeOf shape of a trainable tensor
 * @returns for every stage a key for each of `trains`; equal keys share an array
 */
export function gradientPlaces(
  stages: readonly Pick<TracedStage, 'trains'>[],
  shapeOf: (name: string) => readonly number[],
): string[][] {
  const uses = new Map<string, number>();
  for (const name of stages.flatMap(({ trains }) => trains)) uses.set(name, (uses.get(name) ?? 0) + 1);
  return stages.map(({ trains }) => {
    const seen = new Map<string, number>();
    return trains.map((name) => {
      if (uses.get(name)! > 1) return ownPlace(name);
      const shape = shapeOf(name).join('×');
      const earlier = seen.get(shape) ?? 0;
      seen.set(shape, earlier + 1);
      return `${shape}/${earlier}`;
    });
  });
}

/** Place of a gradient that stays until the next step, or that several stages add to. */
export function ownPlace(name: string): string {
  return `own:${name}`;
}

type Body = (trace: Trace, x: Tensor | undefined, batch: BatchInputs) => Tensor;

/**
 * The programs of a step that is run layer by layer, from the embedding to the head.
 * @param observing default: where the form ever observes
 */
export function traceStages(
  setup: Traced,
  shape: BatchShape,
  observing = everObserves(setup),
): TracedStage[] {
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
    const { stage, y } = traceStage({ setup, shape, observing }, body, hidden, trainsBelow);
    stages.push(stage);
    hidden = y;
    trainsBelow ||= stage.trains.length > 0;
  }
  stages.push(traceHead({ setup, shape, observing }, hidden!, trainsBelow));
  return stages.map((stage, at) => addingTo(stages.slice(at + 1), stage));
}

/** A stage by itself. */
type Stage = Omit<TracedStage, 'adds'>;

/** The stage, adding to what later ones contributed. */
function addingTo(later: readonly Stage[], stage: Stage): TracedStage {
  const adds = stage.trains.filter((name) => later.some(({ trains }) => trains.includes(name)));
  const { backward } = stage;
  if (!backward || adds.length === 0) return { ...stage, adds };
  const sums = adds.map((name) => {
    const gradient = backward.outputs[gradientName(name)];
    return [gradientName(name), add(input(partialName(name), gradient.shape), gradient)];
  });
  return { ...stage, adds, backward: program({ ...backward.outputs, ...Object.fromEntries(sums) }) };
}

interface StagesOf {
  readonly setup: Traced;
  readonly shape: BatchShape;
  readonly observing: boolean;
}

function traceStage(
  { setup, shape, observing }: StagesOf,
  body: Body,
  below: Tensor | undefined,
  passes: boolean,
): { stage: Stage; y: Tensor } {
  const trace = beginTrace(setup, true, observing);
  const x = below && input(X, below.shape);
  const y = body(trace, x, batchInputs(shape));
  const penalty = trace.penalty();
  const trains = usedTrainables(setup, penalty ? { y, penalty } : { y });
  const forward = program({ y });
  if (trains.length === 0 && !passes) return { stage: { trace, forward, trains, passes }, y };
  const along = sum(mul(y, input(DY, y.shape)));
  const backward = program(
    derivatives(trace, penalty ? add(along, penalty) : along, trains, passes ? x : undefined),
  );
  return { stage: { trace, forward, backward, trains, passes }, y };
}

function traceHead({ setup, shape, observing }: StagesOf, below: Tensor, passes: boolean): Stage {
  const trace = beginTrace(setup, true, observing);
  const batch = batchInputs(shape);
  const x = input(X, below.shape);
  const output = setup.model.architecture.head(trace.context, x, batch);
  const loss = supervisedLoss(output, batch.targets, batch.weights);
  const penalty = trace.penalty();
  const trains = usedTrainables(setup, penalty ? { loss, penalty } : { loss });
  const total = penalty ? add(loss, penalty) : loss;
  const backward = program({ loss, ...derivatives(trace, total, trains, passes ? x : undefined) });
  return { trace, backward, trains, passes };
}

/** Names of the trainable tensors that a traced result depends on. */
function usedTrainables(setup: Traced, result: Record<string, Tensor>): string[] {
  const used = new Set(program(result).inputs.map((i) => i.name));
  return setup.trainables.map((t) => t.info.name).filter((name) => used.has(name));
}
