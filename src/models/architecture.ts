import type { Shape, Tensor } from '../graph/index.ts';
import type { Context } from './context.ts';

/** What a model is asked for; decides its head. */
export type Task = 'language-modelling' | 'sequence-classification' | 'embedding' | 'image-classification';

export interface ParameterSpec {
  readonly shape: Shape;
  /** How a fresh model draws it. */
  readonly init: { normal: number } | 'zeros' | 'ones';
  /** Part of a classification head: checkpoints of the base model lack it, it is then drawn anew. */
  readonly head?: boolean;
}

/** A layer that a weight form can target. `out` and `in` are those of W ∈ R^{out×in}, however the file stores it. */
export interface LayerSpec {
  /** Module path in the checkpoint, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  readonly kind: 'linear' | 'embedding' | 'conv2d';
  readonly out: number;
  readonly in: number;
  /** True where the checkpoint stores W as in×out (GPT-2's Conv1D). */
  readonly transposed?: boolean;
  readonly bias?: boolean;
  /** Rows and columns of a convolution's kernel: W ∈ R^{out×in×rows×columns}. */
  readonly kernel?: readonly [number, number];
  /** Index of the block that holds it; absent outside the blocks. */
  readonly block?: number;
}

/** Symbolic inputs of a batch. */
export interface BatchInputs {
  /** Token ids, int64 [B, T]. */
  readonly ids?: Tensor;
  /** Positions, int64 [B, T]; absent: 0 … T−1 in every row. */
  readonly positions?: Tensor;
  /** Document numbers, int64 [B, T], 0 for padding: attention never crosses documents. Absent: one document a row, no padding seen. */
  readonly segments?: Tensor;
  /** Sentence numbers of a pair, int64 [B, T]. */
  readonly types?: Tensor;
  /** Images, float [B, channels, rows, columns]. */
  readonly pixels?: Tensor;
}

export type HeadOutput =
  /** Hidden states [B, T, d] before the vocabulary head h Wᵀ (+ b), W [V, d]. */
  | { kind: 'tokens'; hidden: Tensor; weight: Tensor; bias?: Tensor }
  /** Scores [B, T, V] where the vocabulary head itself carries a weight form. */
  | { kind: 'logits'; logits: Tensor }
  /** Class scores [B, C]. */
  | { kind: 'classes'; logits: Tensor }
  /** One vector a row, [B, d]. */
  | { kind: 'vectors'; vectors: Tensor };

export interface ImageSpec {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly tokens: number;
}

/** One architecture with one configuration: pure functions over named tensors, in three stages. */
export interface Architecture {
  /** `model_type` of config.json. */
  readonly type: string;
  readonly task: Task;
  /** Every parameter by its checkpoint name, in checkpoint order. */
  readonly parameters: ReadonlyMap<string, ParameterSpec>;
  readonly layers: readonly LayerSpec[];
  readonly blocks: number;
  /** Longest sequence; absent for images. */
  readonly maxLength?: number;
  /** The images that it takes, and how many tokens one becomes; absent for texts. */
  readonly image?: ImageSpec;
  readonly vocabulary?: number;
  /** Shape of the key/value cache, for models that generate. */
  readonly cache?: { kvHeads: number; headDim: number };
  /** Inputs → hidden states [B, T, d]. */
  embed(c: Context, batch: BatchInputs): Tensor;
  /** One block: hidden states → hidden states. */
  block(c: Context, index: number, x: Tensor, batch: BatchInputs): Tensor;
  head(c: Context, x: Tensor, batch: BatchInputs): HeadOutput;
}
