import { totalmem } from 'node:os';
import { compileLoop } from '../engine/index.ts';
import { BYTES, type NDArray, type Program } from '../graph/index.ts';
import { stateBytes, type UpdateRule } from '../optimizers/index.ts';
import { discardedWeights } from './adaptation.ts';
import type { BatchShape } from './batch-feeds.ts';
import { traceEvaluation } from './evaluation.ts';
import type { Traced } from './execution.ts';
import { type ProgramMemory, programMemory } from './program-memory.ts';
import type { Recipe } from './recipe.ts';
import type { Live } from './run-state.ts';
import type { Feed } from './sources.ts';
import { blockwiseStep, type StepMemory, totalBytes, wholeStep } from './step-memory.ts';
import { restingTrainables, type Trainable } from './trainables.ts';
import { readsGradients, spendsTogether } from './update.ts';
import { programKey, ruleProgram } from './updates.ts';

/** Bytes that a run takes, by kind. */
export interface MemoryEstimate {
  readonly weights: number;
  /** A form's factors, frozen ones too, and what its steps keep. */
  readonly adapter: number;
  readonly gradients: number;
  readonly optimizer: number;
  /** Results of programs while they run, those of updates too, hidden states between blocks, what a step makes on the host. */
  readonly activations: number;
  /** Tokens of data that are held in memory. */
  readonly data: number;
  /** Node, ONNX Runtime and its compiled programs. */
  readonly runtime: number;
  readonly peak: number;
}

export type Execute = 'whole' | 'blockwise';

export interface EstimateOptions {
  readonly execution: Execute;
  /** All gradients stand side by side before the optimizer moves. */
  readonly together: boolean;
  /** Several batches add up in arrays of their own. */
  readonly sums: boolean;
  /** The run evaluates, which takes a program of its own. */
  readonly evaluates: boolean;
  /** False where the run is its process's main thread, as in studies. Default: it is a worker beside it. */
  readonly worker?: boolean;
  /** Bytes that the form's steps keep. */
  readonly formState?: number;
  /** Bytes that the data take in memory. */
  readonly data?: number;
  /** Updates of the run: blocks that take turns with their state differ in size. Default 10,000. */
  readonly steps?: number;
}

// Measured on Linux x64, Node 20, ONNX Runtime 1.30: least squares over `npm run bench -- memory`.
/** Node with this package, ONNX Runtime and its programs, and what waits for the collector. */
const PROCESS_BYTES = 184e6;
/** A second thread of Node with the package. */
const WORKER_BYTES = 30e6;
/** An operator of a compiled program. */
const NODE_BYTES = 18e3;
/** What decompositions of gradients leave to the collector. */
const DECOMPOSITION_BYTES = 30e6;
/** Matrices of n × n numbers in float64 that the vectors of a side of length n are found with. */
const DECOMPOSITION_SQUARES = 5;

/**
 * Predicts a run's peak memory from shapes alone: no array is read, nothing is compiled. Where the optimizer has blocks
 * take turns, it is the peak of the largest turn.
 * @param rules of the run's optimizer
 * @param running what programs take that give the gradients of these trainables
 */
export function estimateMemory(
  traced: Traced,
  rules: readonly UpdateRule[],
  shape: BatchShape,
  options: EstimateOptions,
  running: (trainables: readonly Trainable[]) => RunningMemory = (trainables) =>
    runningMemory({ ...traced, trainables }, shape, options),
): MemoryEstimate {
  const ofUpdates = updatesMemory(rules);
  const turns = largestTurns(traced, rules, options.steps ?? 10_000);
  return turns
    .map((turn) => {
      const own = { ...traced, trainables: turn.trainables };
      return estimateTurn(own, { ...turn, ofUpdates }, running(turn.trainables), options);
    })
    .reduce((most, estimate) => (estimate.peak > most.peak ? estimate : most));
}

/** @param turn bytes of its optimizer state, and what updates take beside */
function estimateTurn(
  traced: Traced,
  turn: { readonly optimizer: number; readonly ofUpdates: UpdatesMemory },
  { step, begin, evaluation }: RunningMemory,
  options: EstimateOptions,
): MemoryEstimate {
  const counts = countMemory(traced, step, options);
  const running = [...step.programs, ...evaluation, ...turn.ofUpdates.programs];
  const programs = [...step.programs, ...evaluation, ...(begin?.programs ?? [])];
  const parts = {
    weights: counts.weights,
    adapter: counts.adapter,
    gradients: counts.held,
    optimizer: turn.optimizer,
    activations: step.between + step.noise + inTurn(running) + turn.ofUpdates.host,
    data: options.data ?? 0,
    runtime:
      PROCESS_BYTES +
      (options.worker === false ? 0 : WORKER_BYTES) +
      turn.ofUpdates.waiting +
      programs.reduce((n, { nodes }) => n + NODE_BYTES * nodes, 0),
  };
  const peak = Object.values(parts).reduce((a, b) => a + b);
  // Before the first update, gradients of whole matrices may have needed more.
  const start = begin
    ? parts.weights +
      parts.data +
      begin.sums +
      begin.lent +
      begin.between +
      begin.noise +
      inTurn(begin.programs) +
      parts.runtime
    : 0;
  const more = Math.max(0, start - peak);
  return { ...parts, gradients: parts.gradients + more, peak: peak + more };
}

/** What programs take that run one after the other. */
function inTurn(programs: readonly ProgramMemory[]): number {
  return Math.max(0, ...programs.map((p) => p.workspace)) + programs.reduce((n, p) => n + p.own, 0);
}

/** What programs take while they run: what depends on nothing but model, form, shape of the batch and execution. */
export interface RunningMemory {
  readonly step: StepMemory;
  /** Of the form before its start. */
  readonly begin?: StepMemory & { readonly sums: number };
  readonly evaluation: readonly ProgramMemory[];
}

export function runningMemory(
  traced: Traced,
  shape: BatchShape,
  { execution, evaluates }: Pick<EstimateOptions, 'execution' | 'evaluates'>,
): RunningMemory {
  return {
    step: execution === 'whole' ? wholeStep(traced, shape) : blockwiseStep(traced, shape),
    begin: startingStep(traced, shape),
    evaluation: evaluates ? [programMemory(traceEvaluation(traced, shape).result, new Set())] : [],
  };
}

/** Arrays that the run holds, in bytes. */
function countMemory(
  traced: Traced,
  step: StepMemory,
  { execution, together, sums, formState = 0 }: EstimateOptions,
) {
  const trained = totalBytes(traced.trainables.map((t) => t.array));
  const written = execution === 'blockwise' && (sums || !together) ? step.lent : trained;
  const discarded = discardedWeights(traced.adaptation);
  const weights = [...traced.model.weights]
    .filter(([name]) => !discarded.has(name))
    .map(([, array]) => array);
  return {
    weights: totalBytes(weights),
    adapter: totalBytes(factors(traced)) + formState,
    held: written + (sums ? trained : 0),
  };
}

/** What updates take beside their state. */
interface UpdatesMemory {
  /** Arrays that rules work in on the host: one set for all. */
  readonly host: number;
  /** What waits for the collector. */
  readonly waiting: number;
  readonly programs: readonly ProgramMemory[];
}

/** Bytes that a decomposition of the rule's gradient takes; 0 where it makes none. */
function decomposing({ state, parameters: [{ shape }] }: UpdateRule): number {
  const decomposes = Object.values(state).some((spec) => spec.decomposed);
  return decomposes ? DECOMPOSITION_SQUARES * BYTES.float64 * Math.min(...shape) ** 2 : 0;
}

/** Rules of one shape share their programs. */
function updatesMemory(rules: readonly UpdateRule[]): UpdatesMemory {
  const alike = new Map(rules.map((rule) => [programKey(rule), rule]));
  return {
    host: Math.max(0, ...rules.map((rule) => Math.max(rule.host?.bytes ?? 0, decomposing(rule)))),
    waiting: rules.some((rule) => decomposing(rule) > 0) ? DECOMPOSITION_BYTES : 0,
    programs: [...alike.values()]
      .flatMap(programsOf)
      .map((p) => programMemory(p, new Set(Object.keys(p.outputs)))),
  };
}

/** What ONNX Runtime runs of an update on a CPU. */
function programsOf(rule: UpdateRule): readonly Program[] {
  if (rule.host) return rule.host.programs?.() ?? [];
  const own = ruleProgram(rule.parameters, rule);
  return compileLoop(own) ? [] : [own];
}

/** The gradients that a form wants to see before it starts: of its layers, added up over batches, layer by layer. */
function startingStep({ model, adaptation }: Traced, shape: BatchShape): RunningMemory['begin'] {
  if (!adaptation?.form.needs?.(adaptation.options).gradient) return undefined;
  const trainables = adaptation.layers.map(({ spec }): Trainable => {
    const name = `${spec.name}.weight`;
    const array = model.weights.get(name)!;
    return { info: { name, shape: array.shape, role: 'matrix', layer: spec }, array };
  });
  const sums = totalBytes(trainables.map((t) => t.array));
  return { ...blockwiseStep({ model, trainables }, shape), sums };
}

/** What moves in a turn, and the bytes of state that it holds. */
interface Turn {
  readonly trainables: readonly Trainable[];
  readonly optimizer: number;
}

/** The turns that a run of so many steps may have its peak in: one for all that move tensors of the same shapes. */
function largestTurns(
  { trainables, adaptation }: Traced,
  rules: readonly UpdateRule[],
  steps: number,
): Turn[] {
  const resting = readsGradients(adaptation?.steps)
    ? () => new Set<string>()
    : restingTrainables(trainables, rules);
  const position = new Map(trainables.map((t, i) => [t, i]));
  const largest = new Map<string, Turn>();
  for (const step of firstSteps(
    rules,
    Array.from({ length: steps }, (_, i) => i + 1),
  )) {
    const rest = resting(step);
    const moving = trainables.filter((t) => !rest.has(t.info.name));
    const shapes = JSON.stringify(moving.map((t) => t.array.shape));
    const known = largest.get(shapes) ?? { trainables: moving, optimizer: 0 };
    // The lower a layer, the more activations wait for its turn in the backward pass.
    const lower = position.get(moving[0])! < position.get(known.trainables[0])!;
    largest.set(shapes, {
      trainables: lower ? moving : known.trainables,
      optimizer: Math.max(known.optimizer, stateBytes(rules, step)),
    });
  }
  return [...largest.values()];
}

/** Of these steps the first with each combination of idle rules. */
export function firstSteps(rules: readonly UpdateRule[], steps: readonly number[]): number[] {
  const turning = rules.filter((rule) => rule.idle);
  if (turning.length === 0) return steps.slice(0, 1);
  const first = new Map<string, number>();
  for (const step of steps) {
    const idle = turning.map((rule) => (rule.idle!.at(step) ? 1 : 0)).join('');
    if (!first.has(idle)) first.set(idle, step);
  }
  return [...first.values()];
}

/** Arrays of the form, each once however many layers share it. */
function factors({ adaptation }: Traced): Set<NDArray> {
  return new Set((adaptation?.layers ?? []).flatMap((l) => Object.values({ ...l.frozen, ...l.trainable })));
}

/** Memory that this process may take: the machine's, or its control group's limit. */
export function availableMemory(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

/**
 * Settles `execution: auto`: one graph, unless it is predicted to exceed the memory.
 * @param notice is told where that is so
 */
export function chooseExecution(
  recipe: Recipe,
  { setup, live, feed }: { setup: Traced; live: Live; feed: Pick<Feed, 'largest' | 'validation'> },
  notice: (text: string) => void,
  available = availableMemory(),
): 'whole' | 'blockwise' {
  if (recipe.execution !== 'auto') return recipe.execution;
  const together = spendsTogether(recipe, live.adaptation?.steps);
  const predict = (execution: 'whole' | 'blockwise') =>
    estimateMemory(setup, live.updates.rules, feed.largest, {
      execution,
      together,
      sums: recipe.accumulate > 1,
      evaluates: feed.validation !== undefined,
    }).peak;
  const whole = predict('whole');
  if (whole <= available) return 'whole';
  const blockwise = predict('blockwise');
  if (blockwise >= whole) return 'whole';
  notice(
    `One graph would take about ${gigabytes(whole)} of ${gigabytes(available)}: training goes layer by layer, in about ${gigabytes(blockwise)}.`,
  );
  return 'blockwise';
}

function gigabytes(count: number): string {
  return `${(count / 1e9).toFixed(1)} GB`;
}
