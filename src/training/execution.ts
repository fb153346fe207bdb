import type { CompileOptions, Engine, Executable } from '../engine/index.ts';
import { add, gradients, input, mul, type NDArray, type Program, type Tensor } from '../graph/index.ts';
import type { BatchInputs, HeadOutput } from '../models/architecture.ts';
import type { Context, NoiseSpec } from '../models/context.ts';
import { traceContext } from '../models/context.ts';
import type { Model } from '../models/model.ts';
import { type Adaptation, traceAdaptation } from './adaptation.ts';
import { type BatchShape, SHARE } from './batch-feeds.ts';
import type { Trainable } from './trainables.ts';

export type ConsumeGradient = (name: string, gradient: NDArray) => void | Promise<void>;

export type Observe = (name: string, observed: NDArray) => void;

/** What is wanted of a step beside its loss. */
export interface Wanted {
  /**
   * Takes each gradient as soon as it is complete. The array stays as it is until it is released, or the next step
   * begins.
   */
  readonly consume: ConsumeGradient;
  /** Takes what the form observes of this batch, by `factorName`; without it nothing is observed. */
  readonly observe?: Observe;
  /** Trainables whose gradients nobody needs: they are not computed. Programs are kept for one such set at a time. */
  readonly resting?: ReadonlySet<string>;
}

/** Forward and backward of one batch. */
export interface Execution {
  /**
   * Runs one batch.
   * @param draw number of this draw of noise: the same for the same batch of a resumed run
   * @returns the batch's loss without penalties
   */
  step(feeds: Record<string, NDArray>, shape: BatchShape, draw: number, wanted: Wanted): Promise<number>;
  /** The consumer is done with a gradient that was handed over. */
  release(name: string): void;
}

/** A gradient's name in the ledger and among a program's outputs. */
export function gradientName(trainable: string): string {
  return `d:${trainable}`;
}

const OBSERVED = 'o:';

/** Derivatives of a traced result: of trainables under their `gradientName`, and what the trace observed. */
export function derivatives(
  trace: Trace,
  y: Tensor,
  trains: readonly string[],
  x?: Tensor,
): Record<string, Tensor> {
  const outputs: Record<string, Tensor> = {};
  for (const name of trains) outputs[gradientName(name)] = trace.symbol(name);
  for (const [name, probe] of trace.observed()) outputs[`${OBSERVED}${name}`] = probe;
  if (x) outputs.dx = x;
  const grads = gradients(y, Object.values(outputs));
  return Object.fromEntries(Object.keys(outputs).map((name, i) => [name, grads[i]]));
}

/** Hands over what a program observed. */
export function handObserved(result: Readonly<Record<string, NDArray>>, observe: Observe | undefined): void {
  for (const [name, array] of Object.entries(result))
    if (name.startsWith(OBSERVED)) observe?.(name.slice(OBSERVED.length), array);
}

/** What a step's programs are traced from. */
export interface Traced {
  readonly model: Model;
  readonly adaptation?: Adaptation;
  readonly trainables: readonly Trainable[];
}

/** What every execution is made of. */
export interface Setup extends Traced {
  readonly engine: Engine;
  readonly seed: number;
}

/** One traced stretch of the model: its program's own inputs and how to feed them. */
export interface Trace {
  readonly context: Context & { noise: Map<string, NoiseSpec> };
  /** The symbol of a trainable tensor. */
  symbol(name: string): Tensor;
  /** The form's penalties on the layers traced so far, as this batch's share of them; undefined where it has none. */
  penalty(): Tensor | undefined;
  /** Tensors whose "gradients" are what the form observes, by `factorName`. */
  observed(): ReadonlyMap<string, Tensor>;
}

/** @param observing the form's layers record what they observe */
export function beginTrace(setup: Traced, training: boolean, observing = false): Trace {
  const adaptation = setup.adaptation && traceAdaptation(setup.adaptation, observing);
  const context = traceContext(setup.model.architecture, { training, hooks: adaptation?.hooks });
  return {
    context,
    observed: () => adaptation?.observed ?? new Map(),
    symbol: (name) => (name.includes('#') ? adaptation!.factor(name) : context.parameter(name)),
    penalty() {
      const terms = adaptation?.penalties() ?? [];
      return terms.length === 0 ? undefined : mul(terms.reduce(add), input(SHARE, []));
    },
  };
}

/** A compiled stretch, and the noise that is drawn for each of its runs. */
export interface Stretch {
  readonly executable: Executable;
  readonly noise: readonly NoiseSpec[];
}

export async function compileStretch(
  setup: Setup,
  p: Program,
  trace: Trace,
  options: CompileOptions = {},
): Promise<Stretch> {
  const executable = await setup.engine.compile(p, options);
  const used = new Set(executable.inputs.map((i) => i.name));
  return { executable, noise: [...trace.context.noise.values()].filter((n) => used.has(n.name)) };
}

/** Factors of the adaptation by their names in the run. */
export function factorArrays(adaptation: Adaptation | undefined): Map<string, NDArray> {
  const arrays = new Map<string, NDArray>();
  for (const layer of adaptation?.layers ?? [])
    for (const [name, array] of Object.entries({ ...layer.frozen, ...layer.trainable }))
      arrays.set(`${layer.spec.name}#${name}`, array);
  return arrays;
}

/**
 * The setup with the trainables alone that do not rest, and whether they are others than in the call before.
 * Throughout a turn it is the same object.
 */
export function turnsOf(
  setup: Setup,
): (resting?: ReadonlySet<string>) => { moving: Setup; changed: boolean } {
  let known: { key: string; moving: Setup } | undefined;
  return (resting = new Set()) => {
    const key = [...resting].join(' ');
    const changed = known?.key !== key;
    if (!known || changed) {
      const trainables = setup.trainables.filter((t) => !resting.has(t.info.name));
      known = { key, moving: resting.size > 0 ? { ...setup, trainables } : setup };
    }
    return { moving: known.moving, changed };
  };
}

/** The larger of a form's programs is the one that observes. */
export function everObserves({ adaptation }: Traced): boolean {
  return adaptation?.steps?.observes !== undefined;
}

/** The whole model: embedding, blocks, head. */
export function traceModel(
  { model: { architecture } }: Traced,
  trace: Trace,
  batch: BatchInputs,
): HeadOutput {
  let x = architecture.embed(trace.context, batch);
  for (let i = 0; i < architecture.blocks; i++) x = architecture.block(trace.context, i, x, batch);
  return architecture.head(trace.context, x, batch);
}
