import { IGNORED } from '../data/index.ts';
import { type NDArray, type Program, program, reshape } from '../graph/index.ts';
import {
  type AnyBatch,
  type BatchShape,
  batchFeeds,
  batchInputs,
  isLabelled,
  shapeKey,
  targetCount,
} from './batch-feeds.ts';
import {
  beginTrace,
  compileStretch,
  type Setup,
  type Stretch,
  type Trace,
  type Traced,
  traceModel,
} from './execution.ts';
import { createFeeder } from './feeder.ts';
import { supervisedLoss } from './objective.ts';

/** Mean loss over all targets; accuracy where there are classes. */
export interface Evaluation {
  readonly loss: number;
  readonly targets: number;
  readonly accuracy?: number;
}

/** Evaluates batches without dropout, one forward program a shape, kept between calls. */
export function createEvaluator(setup: Setup, shapeOf: (batch: AnyBatch) => BatchShape) {
  const stretches = new Map<string, Promise<Stretch>>();
  const feed = createFeeder(setup);
  return async (batches: AsyncIterable<AnyBatch>): Promise<Evaluation> => {
    let [loss, targets, correct, labelled] = [0, 0, 0, false];
    for await (const batch of batches) {
      const shape = shapeOf(batch);
      const key = shapeKey(shape);
      if (!stretches.has(key)) stretches.set(key, buildForward(setup, shape));
      const stretch = await stretches.get(key)!;
      const result = await stretch.executable.run(feed(stretch, batchFeeds(batch, shape, 1), 0));
      loss += Number(result.loss.data[0]);
      targets += targetCount(batch);
      if (!isLabelled(batch)) continue;
      labelled = true;
      correct += countCorrect(result.logits, batch.labels);
    }
    return { loss: loss / targets, targets, ...(labelled ? { accuracy: correct / targets } : {}) };
  };
}

function buildForward(setup: Setup, shape: BatchShape): Promise<Stretch> {
  const { result, trace } = traceEvaluation(setup, shape);
  return compileStretch(setup, result, trace);
}

/** The program of an evaluation: `loss`, summed by the weights, and `logits` where there are classes. */
export function traceEvaluation(setup: Traced, shape: BatchShape): { result: Program; trace: Trace } {
  const trace = beginTrace(setup, false);
  const batch = batchInputs(shape);
  const output = traceModel(setup, trace, batch);
  const loss = reshape(supervisedLoss(output, batch.targets, batch.weights), []);
  return { result: program(output.kind === 'classes' ? { loss, logits: output.logits } : { loss }), trace };
}

function countCorrect(logits: NDArray, labels: Int32Array): number {
  const classes = logits.shape[1];
  let correct = 0;
  labels.forEach((label, row) => {
    if (label === IGNORED) return;
    let best = 0;
    for (let c = 1; c < classes; c++)
      if (logits.data[row * classes + c] > logits.data[row * classes + best]) best = c;
    correct += Number(best === label);
  });
  return correct;
}
