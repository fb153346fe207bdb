import { RankineError } from '../errors.ts';
import { type NDArray, type Shape, sizeOf } from '../graph/array.ts';
import type { ConvertedModel } from './checkpoint.ts';
import type { JsonObject } from './json-keys.ts';
import { type Llama2cPiece, parseLlama2cVocabulary } from './llama2c-tokenizer.ts';
import { lazyTensors } from './safetensors-write.ts';

interface Sizes {
  /** Width, hidden width of the feed-forward part. */
  readonly dim: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly vocabulary: number;
  readonly context: number;
  /** Whether the output head is the embedding. */
  readonly tied: boolean;
}

/** A llama2.c model, with its vocabulary where the file holds one. */
export interface Llama2cModel extends ConvertedModel {
  readonly vocabulary?: Llama2cPiece[];
}

/**
 * Reads a checkpoint of llama2.c (version 0: seven integers, then the tensors) or of llama2.ts (a 256-byte header that
 * names itself, the vocabulary, then the tensors) as a Llama model with Hugging Face's names and rope layout.
 *
 * @throws RankineError `formats/unknown-format`, `formats/truncated`
 * @see https://github.com/karpathy/llama2.c/blob/master/export.py
 */
export function readLlama2c(file: string, bytes: Uint8Array): Llama2cModel {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return isLlama2ts(bytes) ? readLlama2ts(file, bytes, view) : readVersion0(file, view);
}

const LLAMA2TS_HEADER = 256;
const LLAMA2TS_MAGIC = new TextEncoder().encode('\x01\x05\0\0\0llama');

function isLlama2ts(bytes: Uint8Array): boolean {
  return bytes.length > LLAMA2TS_HEADER && LLAMA2TS_MAGIC.every((byte, i) => bytes[i] === byte);
}

function readLlama2ts(file: string, bytes: Uint8Array, view: DataView): Llama2cModel {
  const [dim, hidden, context, vocabulary, layers, heads, kvHeads] = integers(view, LLAMA2TS_MAGIC.length, 7);
  const tied = view.getUint8(LLAMA2TS_MAGIC.length + 28) !== 0;
  const sizes = checkSizes(file, { dim, hidden, layers, heads, kvHeads, vocabulary, context, tied });
  const pieces = parseLlama2cVocabulary(file, bytes, LLAMA2TS_HEADER, vocabulary);
  const reader = floatReader(file, view, pieces.end);
  const embedding = reader([vocabulary, dim]);
  const grouped = readGrouped(reader, sizes, ['gate_proj', 'up_proj', 'down_proj']);
  const norm = reader([dim]);
  return {
    ...assemble(sizes, embedding, grouped, norm, () => reader([vocabulary, dim])),
    vocabulary: pieces.pieces,
  };
}

function readVersion0(file: string, view: DataView): Llama2cModel {
  if (view.byteLength < 28) throw unknown(file, `it has only ${view.byteLength} bytes`);
  const [dim, hidden, layers, heads, kvHeads, signed, context] = integers(view, 0, 7);
  // A negative vocabulary size says that the head has weights of its own.
  const vocabulary = Math.abs(signed);
  const sizes = checkSizes(file, {
    dim,
    hidden,
    layers,
    heads,
    kvHeads,
    vocabulary,
    context,
    tied: signed > 0,
  });
  const reader = floatReader(file, view, 28);
  const embedding = reader([vocabulary, dim]);
  const grouped = readGrouped(reader, sizes, ['gate_proj', 'down_proj', 'up_proj']);
  const norm = reader([dim]);
  reader([2, context, dim / heads / 2]); // tables of cosines and sines, which the model computes itself
  return assemble(sizes, embedding, grouped, norm, () => reader([vocabulary, dim]));
}

type FloatReader = (shape: Shape) => NDArray;

function floatReader(file: string, view: DataView, start: number): FloatReader {
  let at = start;
  return (shape) => {
    const end = at + 4 * sizeOf(shape);
    if (end > view.byteLength)
      throw new RankineError(
        'formats/truncated',
        `${file} is truncated: its header announces at least ${end} bytes, but it has ${view.byteLength}.`,
        'Download the file again.',
      );
    const bytes = new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset + at, end - at).slice();
    at = end;
    return { dtype: 'float32', shape, data: new Float32Array(new Uint8Array(bytes).buffer) };
  };
}

type Grouped = Record<string, NDArray[]>;

/** Each kind of tensor stands together for all layers. */
function readGrouped(read: FloatReader, sizes: Sizes, feedForward: readonly string[]): Grouped {
  const { dim, hidden, layers, heads, kvHeads } = sizes;
  const kvDim = (dim / heads) * kvHeads;
  const all = (shape: Shape) => Array.from({ length: layers }, () => read(shape));
  const grouped: Grouped = { input_layernorm: all([dim]) };
  grouped['self_attn.q_proj'] = all([dim, dim]).map((w) => toHalfSplit(w, heads));
  grouped['self_attn.k_proj'] = all([kvDim, dim]).map((w) => toHalfSplit(w, kvHeads));
  grouped['self_attn.v_proj'] = all([kvDim, dim]);
  grouped['self_attn.o_proj'] = all([dim, dim]);
  grouped.post_attention_layernorm = all([dim]);
  for (const name of feedForward)
    grouped[`mlp.${name}`] = all(name === 'down_proj' ? [dim, hidden] : [hidden, dim]);
  return grouped;
}

/**
 * llama2.c rotates neighbouring rows (2i, 2i + 1) of a head, Hugging Face rows i and i + half: the same rotation once
 * the rows are put in the other order.
 */
function toHalfSplit(weight: NDArray, heads: number): NDArray {
  const [rows, columns] = weight.shape;
  const headSize = rows / heads;
  const source = weight.data as Float32Array;
  const data = new Float32Array(source.length);
  for (let row = 0; row < rows; row++) {
    const within = row % headSize;
    const target = row - within + (within % 2) * (headSize / 2) + Math.floor(within / 2);
    data.set(source.subarray(row * columns, (row + 1) * columns), target * columns);
  }
  return { ...weight, data };
}

function assemble(
  sizes: Sizes,
  embedding: NDArray,
  grouped: Grouped,
  norm: NDArray,
  readHead: () => NDArray,
): ConvertedModel {
  const tensors: Record<string, NDArray> = {
    'model.embed_tokens.weight': embedding,
    'model.norm.weight': norm,
  };
  for (const [kind, arrays] of Object.entries(grouped))
    for (const [layer, array] of arrays.entries()) tensors[`model.layers.${layer}.${kind}.weight`] = array;
  if (!sizes.tied) tensors['lm_head.weight'] = readHead();
  return { config: configOf(sizes), tensors: lazyTensors(tensors) };
}

function configOf(sizes: Sizes): JsonObject {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: sizes.dim,
    intermediate_size: sizes.hidden,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.kvHeads,
    head_dim: sizes.dim / sizes.heads,
    vocab_size: sizes.vocabulary,
    max_position_embeddings: sizes.context,
    tie_word_embeddings: sizes.tied,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: 1,
    eos_token_id: 2,
  };
}

function checkSizes(file: string, sizes: Sizes): Sizes {
  const { tied: _, ...counts } = sizes;
  const { dim, heads, kvHeads } = sizes;
  const small = Object.values(counts).every((n) => n > 0 && n < 1 << 24);
  if (small && dim % (2 * heads) === 0 && heads % kvHeads === 0) return sizes;
  throw unknown(file, `its header would mean ${JSON.stringify(counts)}`);
}

function integers(view: DataView, start: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => view.getInt32(start + 4 * i, true));
}

function unknown(file: string, fact: string): RankineError {
  return new RankineError(
    'formats/unknown-format',
    `${file} is no llama2.c checkpoint: ${fact}.`,
    'Version 0 of llama2.c and the form of llama2.ts are read; others can be exported again with its export.py.',
  );
}
