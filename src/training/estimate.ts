import { createHash } from 'node:crypto';
import { totalmem } from 'node:os';
import { BYTES, type NDArray, type Program, simplify, sizeOf, toOnnx } from '../graph/index.ts';
import { stateBytes, type UpdateRule } from '../optimizers/index.ts';
import type { BatchShape } from './batch-feeds.ts';
import { traceEvaluation } from './evaluation.ts';
import { gradientName, type Traced, traceWhole } from './execution.ts';
import { type ProgramMemory, programMemory } from './liveness.ts';
import type { Recipe } from './recipe.ts';
import type { Live } from './run-state.ts';
import type { Feed } from './sources.ts';
import { traceStages } from './stages.ts';
import { spendsTogether } from './update.ts';

/** Bytes that a run takes, by kind. */
export interface MemoryEstimate {
  readonly weights: number;
  /** A form's factors, frozen ones too, and what its steps keep. */
  readonly adapter: number;
  readonly gradients: number;
  readonly optimizer: number;
  /** Results of programs while they run, and the hidden states between blocks. */
  readonly activations: number;
  /** Node, ONNX Runtime and its compiled programs. */
  readonly runtime: number;
  readonly peak: number;
}

export type Execute = 'whole' | 'blockwise';

export interface EstimateOptions {
  readonly execution: Execute;
  /** All gradients stand side by side before the optimizer moves. */
  readonly together: boolean;
  /** The run evaluates, which takes a program of its own. */
  readonly evaluates: boolean;
  /** Bytes that the form's steps keep. */
  readonly formState?: number;
}

// Measured on Linux x64, Node 20, ONNX Runtime 1.30, models of 3 to 12 million weights.
/** Node with this package and ONNX Runtime loaded. */
const PROCESS_BYTES = 180e6;
/** A compiled program, and each of its operators. */
const PROGRAM_BYTES = 8e6;
const NODE_BYTES = 40e3;
/** What ONNX Runtime's arena holds for each byte that is alive at the peak: blocks of other sizes lie unused between. */
const ARENA = 1.2;

/**
 * Predicts a run's peak memory from shapes alone: no array is read, nothing is compiled.
 * @param rules of the run's optimizer
 */
export function estimateMemory(
  traced: Traced,
  rules: readonly UpdateRule[],
  shape: BatchShape,
  options: EstimateOptions,
): MemoryEstimate {
  const step = options.execution === 'whole' ? wholeStep(traced, shape) : blockwiseStep(traced, shape);
  const evaluation = options.evaluates
    ? programMemory(traceEvaluation(traced, shape).result, new Set())
    : NOTHING;
  const programs = [...step.programs, evaluation];
  const trained = total(traced.trainables.map((t) => t.array));
  const parts = {
    weights: total(traced.model.weights.values()),
    adapter: total(factors(traced)) + (options.formState ?? 0),
    // Beside the arrays themselves: the binding copies every output of a run, and the copies wait for the collector.
    gradients: trained + (options.execution === 'whole' || options.together ? trained : step.largestStage),
    optimizer: stateBytes(rules),
    activations: step.between + ARENA * (step.peak + evaluation.peak),
    runtime:
      PROCESS_BYTES + programs.reduce((n, p) => n + (p.nodes && PROGRAM_BYTES + NODE_BYTES * p.nodes), 0),
  };
  return { ...parts, peak: Object.values(parts).reduce((a, b) => a + b) };
}

const NOTHING: ProgramMemory = { peak: 0, nodes: 0 };

interface StepMemory {
  /** One a compiled program. */
  readonly programs: readonly ProgramMemory[];
  /** Most that programs take at once: those that run in turn give their memory back. */
  readonly peak: number;
  /** Hidden states between programs. */
  readonly between: number;
  /** Gradients of the stage that has most. */
  readonly largestStage: number;
}

function wholeStep(traced: Traced, shape: BatchShape): StepMemory {
  const { result } = traceWhole(traced, shape);
  const memory = programMemory(result, new Set(Object.keys(result.outputs)));
  return { programs: [memory], peak: memory.peak, between: 0, largestStage: 0 };
}

function blockwiseStep(traced: Traced, shape: BatchShape): StepMemory {
  const stages = traceStages(traced, shape);
  const traces = stages
    .flatMap(({ forward, backward }) => [forward, backward])
    .filter((p) => p !== undefined);
  const provided = new Set(traced.trainables.map((t) => gradientName(t.info.name)));
  const distinct = new Map(traces.map((p) => [structure(p), p]));
  const programs = [...distinct.values()].map((p) => programMemory(p, provided));
  const arrays = new Map(traced.trainables.map((t) => [t.info.name, t.array]));
  const hidden = stages.reduce((n, { forward }) => n + (forward ? bytes(forward.outputs.y.shape) : 0), 0);
  return {
    programs,
    peak: Math.max(...programs.map((p) => p.peak)),
    // Once to keep, and the copies of what each block gave forward and backward, which wait for the collector.
    between: 3 * hidden,
    largestStage: Math.max(...stages.map((s) => total(s.trains.map((name) => arrays.get(name)!)))),
  };
}

/** Equal for programs that the engine compiles once. */
function structure(p: Program): string {
  return createHash('sha256')
    .update(toOnnx(simplify(p)).bytes)
    .digest('hex');
}

/** Arrays of the form, each once however many layers share it. */
function factors({ adaptation }: Traced): Set<NDArray> {
  return new Set((adaptation?.layers ?? []).flatMap((l) => Object.values({ ...l.frozen, ...l.trainable })));
}

function bytes(shape: readonly number[]): number {
  return BYTES.float32 * sizeOf(shape);
}

function total(arrays: Iterable<NDArray>): number {
  let sum = 0;
  for (const { shape, dtype } of arrays) sum += sizeOf(shape) * BYTES[dtype];
  return sum;
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
