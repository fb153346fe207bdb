import type { z } from 'zod';
import {
  BYTES,
  type DType,
  type NDArray,
  type Program,
  type Shape,
  sizeOf,
  type Tensor,
} from '../graph/index.ts';
import type { Random } from '../linalg/index.ts';
import type { LayerSpec } from '../models/architecture.ts';

/** A tensor that an optimizer moves. */
export interface ParameterInfo {
  /** Unique in the run: a checkpoint name, or `<layer>#<factor>`. */
  readonly name: string;
  readonly shape: Shape;
  /** What it is: a matrix of a targeted layer, a factor of a weight form, or anything else. */
  readonly role: 'matrix' | 'factor' | 'embedding' | 'head' | 'norm' | 'bias' | 'other';
  /** The factor's name in its form (A, B, …). */
  readonly factor?: string;
  /** Its number among the factor's parts, where the form has them move apart. */
  readonly part?: number;
  readonly layer?: LayerSpec;
  /** s of a factor A ∈ R^{r×n} or B ∈ R^{m×r} whose layer's weight (V in DoRA) holds the term s B A. */
  readonly scale?: number;
}

export interface StateSpec {
  readonly shape: Shape;
  readonly dtype?: DType;
  /** 1 where it is an average of gradients, 2 of their squares: what a restart clears. */
  readonly moment?: 1 | 2;
  /** True where `prepare` finds it by decomposing a gradient. */
  readonly decomposed?: true;
}

/** Symbols of one update. Lists are in the order of the rule's parameters. */
export interface UpdateInputs {
  readonly parameters: readonly Tensor[];
  readonly gradients: readonly Tensor[];
  readonly state: Readonly<Record<string, Tensor>>;
  /** η of this step, a single number. */
  readonly rate: Tensor;
  /** t, counted from 1, a single number. */
  readonly step: Tensor;
}

export interface UpdateOutputs {
  readonly parameters: readonly Tensor[];
  readonly state: Readonly<Record<string, Tensor>>;
}

/** What work on the host sees before an update. State arrays may be changed in place. */
export interface PrepareInputs {
  /** t, counted from 1. */
  readonly step: number;
  readonly parameters: readonly NDArray[];
  readonly gradients: readonly NDArray[];
  readonly state: Readonly<Record<string, NDArray>>;
  random(purpose: string): Random;
  /** Logs a number of this step beside loss and rate. */
  report(name: string, value: number): void;
}

/** What an update on the host sees; parameters and state are changed in place. */
export interface HostInputs extends Omit<PrepareInputs, 'random' | 'report'> {
  readonly rate: number;
  /** Multiplies every gradient: the clipping factor. */
  readonly clip: number;
  /** Runs a program, compiled once; of `arrays` it takes what it reads and, in place, what it gives by their names. */
  compute(program: Program, arrays: Readonly<Record<string, NDArray>>): Promise<Record<string, NDArray>>;
  /** An array for this update alone, whatever it holds; the next call by this name may give its memory away. */
  scratch(name: string, shape: Shape): NDArray;
}

/** An update on the host. */
export interface HostUpdate {
  /** Moves parameters and state in place. */
  update(inputs: HostInputs): void | Promise<void>;
  /** Programs that it has computed; default: none. Their outputs go into arrays that are there. */
  programs?(): readonly Program[];
  /** Bytes of its scratch arrays; default 0. */
  readonly bytes?: number;
}

/** How some parameters (usually one) move together. State starts at zero. */
export interface UpdateRule {
  readonly parameters: readonly ParameterInfo[];
  readonly state: Readonly<Record<string, StateSpec>>;
  /** Traced once and lowered: to one loop where all is elementwise, else to ONNX. */
  update(inputs: UpdateInputs): UpdateOutputs;
  /** Work that no program does: a new basis by SVD, new columns. */
  prepare?(inputs: PrepareInputs): void | Promise<void>;
  /** `update` written by hand for the CPU, where neither a loop nor ONNX is fast; the contract test holds both together. */
  readonly host?: HostUpdate;
  /** Steps without state (the block's turn is another's): the state is freed and starts at zero again after them. */
  readonly idle?: IdleSteps;
}

export interface IdleSteps {
  /** Whether step t, counted from 1, holds no state. The same for every call with one t. */
  at(step: number): boolean;
  /** Replaces `update` in these steps; sees and gives no state. Absent: the parameters stay as they are. */
  update?(inputs: UpdateInputs): UpdateOutputs;
}

/** True where a rule's parameters stay as they are in step t, counted from 1: nobody needs their gradients. */
export function restsAt({ idle }: UpdateRule, step: number): boolean {
  return idle !== undefined && !idle.update && idle.at(step);
}

/** Bytes of state that rules hold after step t (counted from 1), without holding them. */
export function stateBytes(rules: readonly UpdateRule[], step = 1): number {
  const held = rules.filter((rule) => !rule.idle?.at(step));
  const specs = held.flatMap((rule) => Object.values(rule.state));
  return specs.reduce((bytes, { shape, dtype }) => bytes + sizeOf(shape) * BYTES[dtype ?? 'float32'], 0);
}

/** One optimizer, one file. */
export interface OptimizerMethod<O = unknown> {
  readonly name: string;
  readonly title: string;
  readonly paper: string;
  readonly whenToChoose: string;
  /** Numbers of state for an m×n matrix, as a formula; `stateBytes` counts them. */
  readonly stateFormula: string;
  readonly options: z.ZodType<O>;
  /** Weight form that it moves, as a recipe names it; absent where it moves any, and all weights too. */
  readonly adapter?: Readonly<Record<string, unknown>>;
  /**
   * Splits the parameters into rules; every parameter is in exactly one.
   * @param seed of the run, for choices that several rules share
   */
  rules(parameters: readonly ParameterInfo[], options: O, seed: number): UpdateRule[];
  /** What the user should know of the method on these parameters. */
  notices?(parameters: readonly ParameterInfo[], options: O): string[];
}

/** Checks a method's type and forgets its options', for lists of methods. */
export function defineOptimizer<O>(method: OptimizerMethod<O>): OptimizerMethod {
  return method as unknown as OptimizerMethod;
}
