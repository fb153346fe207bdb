import { createHash } from 'node:crypto';
import { byteSize, type NDArray, type Program, simplify, toOnnx } from '../graph/index.ts';
import type { BatchShape } from './batch-feeds.ts';
import { gradientName, type Trace, type Traced } from './execution.ts';
import { noisePlaces, noiseType } from './feeder.ts';
import { type ProgramMemory, programMemory } from './program-memory.ts';
import { gradientPlaces, traceStages } from './stages.ts';
import { traceWhole } from './whole.ts';

/** What forward and backward of a batch take, in bytes. */
export interface StepMemory {
  /** One a compiled program. */
  readonly programs: readonly ProgramMemory[];
  /** Hidden states between programs. */
  readonly between: number;
  /** Noise that is drawn for a step. */
  readonly noise: number;
  /** Arrays that gradients are written into, where each is spent as soon as it is there. */
  readonly lent: number;
}

/** Forward and backward in one program. */
export function wholeStep(traced: Traced, shape: BatchShape): StepMemory {
  const { result, trace } = traceWhole(traced, shape);
  const memory = programMemory(result, new Set(Object.keys(result.outputs)));
  const all = totalBytes(traced.trainables.map((t) => t.array));
  return { programs: [memory], between: 0, noise: noiseBytes([trace]), lent: all };
}

/** One program a stage: stages of one structure share it, and the arrays of their gradients. */
export function blockwiseStep(traced: Traced, shape: BatchShape): StepMemory {
  const stages = traceStages(traced, shape);
  const traces = stages
    .flatMap(({ forward, backward }) => [forward, backward])
    .filter((p) => p !== undefined);
  const provided = new Set(traced.trainables.map((t) => gradientName(t.info.name)));
  const distinct = new Map(traces.map((p) => [structure(p), p]));
  const programs = [...distinct.values()].map((p) => programMemory(p, provided));
  const arrays = new Map(traced.trainables.map((t) => [t.info.name, t.array]));
  const lent = new Map<string, NDArray>();
  const places = gradientPlaces(stages, (name) => arrays.get(name)!.shape);
  for (const [at, { trains }] of stages.entries())
    for (const [i, name] of trains.entries()) lent.set(places[at][i], arrays.get(name)!);
  const hidden = stages.map(({ forward }) => (forward ? byteSize(forward.outputs.y.shape) : 0));
  return {
    programs,
    // All that go forward are kept; two of those that come back take turns.
    between: hidden.reduce((a, b) => a + b, 0) + 2 * Math.max(...hidden),
    noise: noiseBytes(stages.map(({ trace }) => trace)),
    lent: totalBytes(lent.values()),
  };
}

/** Bytes of the arrays that stretches which run in turn draw their noise into. */
function noiseBytes(traces: readonly Trace[]): number {
  const arrays = new Map<string, number>();
  for (const { context } of traces) {
    const specs = [...context.noise.values()];
    for (const [i, place] of noisePlaces(specs).entries())
      arrays.set(place, byteSize(specs[i].shape, noiseType(specs[i])));
  }
  return [...arrays.values()].reduce((a, b) => a + b, 0);
}

/** Equal for programs that the engine compiles once. */
function structure(p: Program): string {
  return createHash('sha256')
    .update(toOnnx(simplify(p)).bytes)
    .digest('hex');
}

/** Bytes of arrays, by their shapes. */
export function totalBytes(arrays: Iterable<NDArray>): number {
  let sum = 0;
  for (const { shape, dtype } of arrays) sum += byteSize(shape, dtype);
  return sum;
}
