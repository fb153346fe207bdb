import type { z } from 'zod';
import type { PeftAdapter } from '../formats/peft.ts';
import type { DType, NDArray, Shape, Tensor } from '../graph/index.ts';
import type { Random } from '../linalg/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { BaseLayer, Context } from '../models/context.ts';
import type { AdapterOptions } from './options.ts';

export type Arrays = Readonly<Record<string, NDArray>>;
export type Tensors = Readonly<Record<string, Tensor>>;

/** What a form wants measured before it starts. */
export interface Needs {
  /** ∂L/∂W of every targeted layer of the un-adapted model, summed over the run's first batches. */
  readonly gradient?: { readonly batches: number };
}

/** What was measured on the un-adapted model. */
export interface LayerStatistics {
  /** Σ over the estimate's batches of ∂L/∂W at W₀, out×in; each batch's loss is its mean. */
  readonly gradient?: NDArray;
}

export interface InitContext {
  /** W₀ ∈ R^{out×in} (conv2d [out, in, rows, columns], embedding [rows, width]), whatever the checkpoint's storage. */
  readonly weight: NDArray;
  readonly statistics: LayerStatistics;
  /**
   * η of the run's first update that moves: the peak divided by the updates of the warm-up. Exact for forms with
   * `needs`; else a warm-up is not looked at.
   */
  readonly firstRate: number;
  /** Seeded by run, layer and purpose. */
  random(purpose: string): Random;
}

/** A layer's factors. */
export interface Factors {
  readonly trainable: Arrays;
  /** Tensors that the form needs and never trains. */
  readonly frozen: Arrays;
  /** Replaces W₀ (PiSSA's residual), out×in. */
  readonly base?: NDArray;
}

/** One adapted layer while a run is alive. Arrays are live: steps may change them in place. */
export interface AdaptedLayer<O extends AdapterOptions = AdapterOptions> {
  readonly spec: LayerSpec;
  /** The layer's own options: rank and alpha already resolved from the patterns. */
  readonly options: O;
  readonly trainable: Arrays;
  readonly frozen: Arrays;
}

/** What goes of an optimizer's state where not all of it does. The count of updates goes on. */
export interface PartialReset {
  /** Averages of the gradient alone, or (default) those of its square too. */
  readonly moments?: 'both' | 'first';
  /** Entries that go, as a share of each average and by which choice; absent: all. */
  readonly prune?: { readonly share: number; readonly by: 'magnitude' | 'random' };
}

/** What a form's steps see. */
export interface StepInfo<O extends AdapterOptions = AdapterOptions> {
  /** Optimizer steps finished before this one, from 0. */
  readonly step: number;
  readonly total: number;
  readonly layers: readonly AdaptedLayer<O>[];
  /** ∂L/∂ of a trainable tensor, unclipped; present in `afterGradient` and `afterStep`. */
  gradient(layer: AdaptedLayer<O>, name: string): NDArray;
  /** What `forward` observed under this name, summed over the update's batches; where gradients are, if `observes`. */
  observed(layer: AdaptedLayer<O>, name: string): NDArray;
  /** Zeroes the optimizer's state of a trainable tensor or part, and its count of updates; or only a part of its averages. */
  resetOptimizer(layer: AdaptedLayer<O>, name: string, part?: PartialReset): void;
  /** The same for every tensor that the run trains, those beside the form too. */
  resetOptimizers(part?: PartialReset): void;
  /** Adds to a layer's frozen weight, out×in (merging during training). */
  addToBase(layer: AdaptedLayer<O>, delta: NDArray): void;
  /** Logged with the step's metrics, e.g. live ranks. */
  report(name: string, value: number): void;
  random(purpose: string): Random;
}

/** An update whose rate is asked for. */
export interface RateRequest {
  /** Updates finished before this one. */
  readonly step: number;
  readonly total: number;
  /** The run's schedule, by updates finished before. */
  scheduled(step: number): number;
  /** True for the form's own tensors, false for what trains beside them. */
  readonly factor: boolean;
}

/** Work around optimizer steps, over all layers at once. State lives in `state`, which checkpoints hold. */
export interface FormSteps<O extends AdapterOptions = AdapterOptions> {
  /** Named arrays that must survive a resume. */
  readonly state: Record<string, NDArray>;
  /** True for updates that record what `forward` observes (`Context.observe`): they may take another program. */
  observes?(step: number): boolean;
  /** True for a trainable tensor or part that takes no update now: the optimizer leaves it and its state as they are. */
  rests?(layer: AdaptedLayer<O>, factor: string, part?: number): boolean;
  /** Rate of an update where restarts bend the schedule; absent: as scheduled. */
  rate?(request: RateRequest): number;
  beforeStep?(info: StepInfo<O>): void | Promise<void>;
  afterGradient?(info: StepInfo<O>): void | Promise<void>;
  afterStep?(info: StepInfo<O>): void | Promise<void>;
}

/** Name of a factor's part number `index` (`FactorShapes.parts`). */
export function partName(factor: string, index: number): string {
  return `${factor}[${index}]`;
}

/** What `init` and `steps` make for a layer, known before any of it exists. All float32 unless `dtypes` says otherwise. */
export interface FactorShapes {
  readonly trainable: Readonly<Record<string, Shape>>;
  readonly frozen: Readonly<Record<string, Shape>>;
  readonly dtypes?: Readonly<Record<string, DType>>;
  /**
   * Rows of trainable factors that the optimizer moves as tensors of their own, by `partName`: each has its own state and
   * count of updates, and its own resets. One entry a part, from the first row to the last. The form's steps then have
   * `afterGradient` or `afterStep`: gradients are spent together.
   */
  readonly parts?: Readonly<Record<string, readonly number[]>>;
  /** Frozen factors of which layers of one shape have one array together. */
  readonly shared?: readonly string[];
  /** Numbers that the form's steps keep in their `state` while a run is alive. */
  readonly state?: number;
}

export interface ExportedFactors<O extends AdapterOptions = AdapterOptions> {
  readonly spec: LayerSpec;
  readonly options: O;
  readonly arrays: Arrays;
  /** Written without transposition for GPT-2's Conv1D; PEFT flags it. */
  readonly fanInFanOut: boolean;
}

/**
 * How a layer's weight changes: one method, one file. `forward` and `weight` are symbolic and must agree:
 * forward(x) = x weight(W₀)ᵀ + b without dropout.
 */
export interface WeightForm<O extends AdapterOptions = AdapterOptions> {
  readonly name: string;
  readonly title: string;
  /** Authors, venue or year, arXiv id. */
  readonly paper: string;
  /** Trainable numbers of an m×n layer as a formula. */
  readonly trainable: string;
  readonly whenToChoose: string;
  readonly options: z.ZodType<O>;
  readonly kinds: readonly LayerSpec['kind'][];
  /** False where training starts elsewhere than at W₀; the default is exactly there. */
  readonly startsAtBase?: false;
  /** W₀ is read by `init` alone: the run lets go of it. */
  readonly discardsBase?: true;
  needs?(options: O): Needs;
  /** Options of size n, for budgets; absent: rank n alone. What goes with the size (a target, a scale) goes along. */
  sized?(n: number): Partial<O>;
  /** Shapes of the arrays that `init` makes, in its order. Throws what `init` throws where options do not fit the layer. */
  shapes(layer: LayerSpec, options: O): FactorShapes;
  init(layer: LayerSpec, options: O, context: InitContext): Factors | Promise<Factors>;
  /** The adapted layer's output; absent: through `weight`. */
  forward?(x: Tensor, base: BaseLayer, factors: Tensors, options: O, c: Context): Tensor;
  /**
   * s where the trained change is s B A with factors A (r×n) and B (m×r) of those names, added to a weight that does
   * not train (in DoRA, to what is normalized); absent for every other structure.
   */
  productScale?(options: O): number;
  /** The effective weight, out×in. */
  weight(base: Tensor, factors: Tensors, options: O, layer: LayerSpec): Tensor;
  /** Added to the loss while training, per layer. */
  penalty?(factors: Tensors, options: O, layers: number): Tensor;
  steps?(options: O, layers: readonly AdaptedLayer<O>[]): FormSteps<O>;
  /** PEFT's file of the adapter; absent where no exact one exists. */
  toPeft?(layers: readonly ExportedFactors<O>[], options: O): PeftAdapter;
  /**
   * The same change as PEFT's plain LORA, for tools that read nothing else, where `toPeft` gives another type.
   * Throws `adapters/no-lora` where the options leave no exact one.
   */
  toLora?(layers: readonly ExportedFactors<O>[], options: O): PeftAdapter;
  /** A smaller file than PEFT's, which only this package reads; absent where there is none. */
  toCompact?(layers: readonly ExportedFactors<O>[], options: O): PeftAdapter;
  /** Factors from PEFT's file, or the compact one, by layer name. */
  fromPeft?(adapter: PeftAdapter, layers: readonly LayerSpec[]): PeftImport<O>;
}

export interface PeftImport<O extends AdapterOptions = AdapterOptions> {
  readonly options: O;
  readonly factors: ReadonlyMap<string, Factors>;
}

/** Checks a form's type and forgets its options', for lists of forms. */
export function defineForm<O extends AdapterOptions>(form: WeightForm<O>): WeightForm {
  return form as unknown as WeightForm;
}
