import { type AdapterOptions, forms } from '../../src/adapters/index.ts';
import type { Engine } from '../../src/engine/index.ts';
import { type NDArray, program } from '../../src/graph/index.ts';
import { forward, type Model, traceContext } from '../../src/models/index.ts';
import { optimizers } from '../../src/optimizers/index.ts';
import { type Adaptation, adapt, traceAdaptation } from '../../src/training/adaptation.ts';
import { type BatchShape, batchInputs } from '../../src/training/batch-feeds.ts';
import { factorArrays } from '../../src/training/execution.ts';
import { freshProgress } from '../../src/training/run-state.ts';
import { countTrainable, trainables } from '../../src/training/trainables.ts';
import { createUpdater } from '../../src/training/update.ts';
import { createUpdates } from '../../src/training/updates.ts';
import { wholeExecution } from '../../src/training/whole.ts';
import { treeModel } from './model.ts';
import { makeTree, type Tree, treeBatches, withNonEdges } from './tree.ts';

export interface LinkRun {
  /** A weight form with options, or undefined: the matrices themselves train. */
  readonly form?: { readonly method: string; readonly options: Record<string, unknown> };
  readonly rate: number;
  readonly steps: number;
  readonly seed: number;
}

export interface LinkScore {
  /** Of the last update, in nats a pair. */
  readonly loss: number;
  /** Area under the ROC curve over edges that were held out and as many pairs that are none. */
  readonly auc: number;
  readonly trainable: number;
}

const shapeOf = (rows: number): BatchShape => ({
  ...{ rows, length: 2, labelled: true },
  ...{ segments: false, positions: false, types: false },
});

/** Trains on a tree's edges with Adam, through the trainer's own updates, and judges on those held out. */
export async function linkPrediction(engine: Engine, run: LinkRun): Promise<LinkScore> {
  const { steps, rate, seed } = run;
  const tree = makeTree(seed);
  const model = treeModel(tree.features, seed);
  const adaptation = run.form && (await adapted(model, run.form, run));
  const list = trainables(model, adaptation);
  const setup = { engine, model, adaptation, trainables: list, seed };
  const adamw = optimizers.find((o) => o.name === 'adamw')!;
  const updates = createUpdates(engine, adamw, adamw.options.parse({}), list, seed);
  const shape = shapeOf(2 * tree.edges.train.length);
  const update = createUpdater({
    ...{ setup, updates, total: steps, rates: () => rate, execution: wholeExecution(setup) },
    recipe: { accumulate: 1, clip: 0, seed },
    live: { trainables: list, updates, adaptation, model },
    progress: freshProgress(),
    feed: { train: () => treeBatches(tree, seed), shapeOf: () => shape },
  });
  let loss = Number.NaN;
  for (let step = 0; step < steps; step++) loss = (await update()).loss;
  return {
    loss,
    auc: await areaUnderCurve(engine, model, adaptation, tree),
    trainable: countTrainable(list),
  };
}

async function adapted(
  model: Model,
  { method, options }: NonNullable<LinkRun['form']>,
  { rate, seed }: LinkRun,
): Promise<Adaptation> {
  const form = forms.find((f) => f.name === method)!;
  return adapt(model, form, form.options.parse(options) as AdapterOptions, { seed, firstRate: rate });
}

async function areaUnderCurve(
  engine: Engine,
  model: Model,
  adaptation: Adaptation | undefined,
  tree: Tree,
): Promise<number> {
  const { pairs, labels } = withNonEdges(tree, tree.edges.test, 0, 'tree/test');
  const hooks = adaptation && traceAdaptation(adaptation).hooks;
  const context = traceContext(model.architecture, { hooks });
  const head = forward(model.architecture, context, batchInputs(shapeOf(pairs.length)));
  if (head.kind !== 'classes') throw new Error('not a classifier');
  const scores = await engine.compile(program({ logits: head.logits }));
  const ids: NDArray = {
    ...{ dtype: 'int64', shape: [pairs.length, 2] },
    data: BigInt64Array.from(pairs.flat(), BigInt),
  };
  const arrays = new Map([...model.weights, ...factorArrays(adaptation), ['batch:ids', ids] as const]);
  const given = Object.fromEntries(scores.inputs.map(({ name }) => [name, arrays.get(name)!]));
  const { logits } = await scores.run(given);
  return rankedAbove(
    Float64Array.from(labels, (_, i) => Number(logits.data[2 * i + 1])),
    labels,
  );
}

/** Share of (edge, other) pairs in which the edge scores higher; ties count half. */
export function rankedAbove(scores: Float64Array, labels: Int32Array): number {
  let [won, count] = [0, 0];
  for (let i = 0; i < scores.length; i++)
    for (let j = 0; j < scores.length; j++) {
      if (labels[i] !== 1 || labels[j] !== 0) continue;
      won += scores[i] > scores[j] ? 1 : scores[i] === scores[j] ? 0.5 : 0;
      count++;
    }
  return won / count;
}
