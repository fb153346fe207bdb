import type { Engine, Executable } from '../engine/index.ts';
import { add, gradients, type NDArray, type Program, program, type Tensor, zeros } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import type { Context, NoiseSpec } from '../models/context.ts';
import { traceContext } from '../models/context.ts';
import type { Model } from '../models/model.ts';
import { type Adaptation, traceAdaptation } from './adaptation.ts';
import { type BatchShape, batchInputs, shapeKey } from './batch-feeds.ts';
import { supervisedLoss } from './objective.ts';
import type { Trainable } from './trainables.ts';

export type ConsumeGradient = (name: string, gradient: NDArray) => void | Promise<void>;

/** Forward and backward of one batch. */
export interface Execution {
  /**
   * Runs one batch and hands over each gradient as soon as it is complete; the array is only lent.
   * @param draw number of this draw of noise: the same for the same batch of a resumed run
   * @returns the batch's loss, penalties included
   */
  step(
    feeds: Record<string, NDArray>,
    shape: BatchShape,
    draw: number,
    consume: ConsumeGradient,
  ): Promise<number>;
}

/** What every execution is made of. */
export interface Setup {
  readonly engine: Engine;
  readonly model: Model;
  readonly adaptation?: Adaptation;
  readonly trainables: readonly Trainable[];
  readonly seed: number;
}

/** One traced stretch of the model: its program's own inputs and how to feed them. */
export interface Trace {
  readonly context: Context & { noise: Map<string, NoiseSpec> };
  /** The symbol of a trainable tensor. */
  symbol(name: string): Tensor;
  penalties(): Tensor[];
}

export function beginTrace(setup: Setup, training: boolean): Trace {
  const adaptation = setup.adaptation && traceAdaptation(setup.adaptation);
  const context = traceContext(setup.model.architecture, { training, hooks: adaptation?.hooks });
  return {
    context,
    symbol: (name) => (name.includes('#') ? adaptation!.factor(name) : context.parameter(name)),
    penalties: () => adaptation?.penalties() ?? [],
  };
}

/** A compiled stretch, with feeds resolved by name from weights, factors, noise and what the caller adds. */
export interface Stretch {
  readonly executable: Executable;
  readonly noise: readonly NoiseSpec[];
}

export async function compileStretch(setup: Setup, p: Program, trace: Trace): Promise<Stretch> {
  const executable = await setup.engine.compile(p);
  const used = new Set(executable.inputs.map((i) => i.name));
  return { executable, noise: [...trace.context.noise.values()].filter((n) => used.has(n.name)) };
}

/** Feeds of a stretch: `own` first, then the run's tensors by name. */
export function stretchFeeds(
  setup: Setup,
  arrays: ReadonlyMap<string, NDArray>,
  stretch: Stretch,
  own: Readonly<Record<string, NDArray>>,
  draw: number,
): Record<string, NDArray> {
  const feeds: Record<string, NDArray> = {};
  for (const spec of stretch.noise) feeds[spec.name] = drawNoise(spec, setup.seed, draw);
  for (const { name } of stretch.executable.inputs) {
    const array = feeds[name] ?? own[name] ?? arrays.get(name) ?? setup.model.weights.get(name);
    if (array) feeds[name] = array;
  }
  return feeds;
}

/** Factors of the adaptation by their names in the run. */
export function factorArrays(adaptation: Adaptation | undefined): Map<string, NDArray> {
  const arrays = new Map<string, NDArray>();
  for (const layer of adaptation?.layers ?? [])
    for (const [name, array] of Object.entries({ ...layer.frozen, ...layer.trainable }))
      arrays.set(`${layer.spec.name}#${name}`, array);
  return arrays;
}

function drawNoise(spec: NoiseSpec, seed: number, draw: number): NDArray {
  const source = random(seed, spec.name);
  if (spec.kind === 'normal') {
    const array = zeros(spec.shape);
    source.fillNormal(array.data as Float32Array, draw);
    return array;
  }
  const array = zeros(spec.shape, 'bool');
  source.fillBernoulli(array.data as Uint8Array, spec.keep!, draw);
  return array;
}

export function addAll(terms: readonly Tensor[]): Tensor | undefined {
  return terms.length === 0 ? undefined : terms.reduce((a, b) => add(a, b));
}

/** Forward, loss and backward in one graph: the fastest. */
export function wholeExecution(setup: Setup): Execution {
  const arrays = factorArrays(setup.adaptation);
  const buffers = Object.fromEntries(setup.trainables.map((t) => [`d:${t.info.name}`, zeros(t.info.shape)]));
  for (const [name, array] of Object.entries(buffers))
    setup.engine.ledger.hold('gradients', name, array.data.byteLength);
  const stretches = new Map<string, Promise<Stretch>>();

  function build(shape: BatchShape): Promise<Stretch> {
    const trace = beginTrace(setup, true);
    const batch = batchInputs(shape);
    const { architecture } = setup.model;
    let x = architecture.embed(trace.context, batch);
    for (let i = 0; i < architecture.blocks; i++) x = architecture.block(trace.context, i, x, batch);
    const loss = supervisedLoss(architecture.head(trace.context, x, batch), batch.targets, batch.weights);
    const penalty = addAll(trace.penalties());
    const total = penalty ? add(loss, penalty) : loss;
    const names = setup.trainables.map((t) => t.info.name);
    const grads = gradients(total, names.map(trace.symbol));
    const outputs = Object.fromEntries(names.map((name, i) => [`d:${name}`, grads[i]]));
    return compileStretch(setup, program({ ...outputs, loss }), trace);
  }

  return {
    async step(feeds, shape, draw, consume) {
      const key = shapeKey(shape);
      if (!stretches.has(key)) stretches.set(key, build(shape));
      const stretch = await stretches.get(key)!;
      const result = await stretch.executable.run(stretchFeeds(setup, arrays, stretch, feeds, draw), buffers);
      for (const { info } of setup.trainables) await consume(info.name, buffers[`d:${info.name}`]);
      return Number(result.loss.data[0]);
    },
  };
}
