import type { z } from 'zod';
import type { DType, NDArray, Shape, Tensor } from '../graph/index.ts';
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
  readonly layer?: LayerSpec;
}

export interface StateSpec {
  readonly shape: Shape;
  readonly dtype?: DType;
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
}

/** How some parameters (usually one) move together. State starts at zero. */
export interface UpdateRule {
  readonly parameters: readonly ParameterInfo[];
  readonly state: Readonly<Record<string, StateSpec>>;
  /** Traced once and lowered: to one loop where all is elementwise, else to ONNX. */
  update(inputs: UpdateInputs): UpdateOutputs;
  /** Work that no program does: a new basis by SVD, a new block. */
  prepare?(inputs: PrepareInputs): void | Promise<void>;
}

/** One optimizer, one file. */
export interface OptimizerMethod<O = unknown> {
  readonly name: string;
  readonly title: string;
  readonly paper: string;
  readonly whenToChoose: string;
  /** Numbers of state per weight of an m×n matrix, as a formula. */
  readonly stateFormula: string;
  readonly options: z.ZodType<O>;
  /** Splits the parameters into rules; every parameter is in exactly one. */
  rules(parameters: readonly ParameterInfo[], options: O): UpdateRule[];
}

/** Checks a method's type and forgets its options', for lists of methods. */
export function defineOptimizer<O>(method: OptimizerMethod<O>): OptimizerMethod {
  return method as unknown as OptimizerMethod;
}
