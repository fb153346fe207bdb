import { RankineError } from '../errors.ts';
import { type NDArray, sizeOf } from '../graph/array.ts';
import type { ConvertedModel } from './checkpoint.ts';
import type { JsonObject } from './json-keys.ts';
import { lazyTensors } from './safetensors-write.ts';

/**
 * Converts a minGPT model in JSON (`{config, name: {shape, dtype, data: base64 float32}}`) to GPT-2 with Hugging
 * Face's names. minGPT's linear layers are [out, in], GPT-2's Conv1D [in, out]: they are transposed. minGPT does not
 * tie its head to the embedding. The causal masks (`attn.bias`) are left out.
 *
 * @throws RankineError `formats/unknown-format`, `formats/tensor-shape`
 * @see https://github.com/karpathy/minGPT/blob/master/mingpt/model.py
 */
export function convertMinGpt(file: string, json: JsonObject): ConvertedModel {
  const tensors: Record<string, NDArray> = {};
  for (const [name, raw] of Object.entries(json)) {
    if (name === 'config' || name.endsWith('.attn.bias')) continue;
    const tensor = decodeMinGptTensor(file, name, raw);
    tensors[name] = isConv1D(name) ? transpose(tensor) : tensor;
  }
  return {
    config: configOf(file, json.config as JsonObject | undefined, tensors),
    tensors: lazyTensors(tensors),
  };
}

/** One `{shape, dtype, data}` of the file. @throws RankineError `formats/unknown-format`, `formats/tensor-shape` */
export function decodeMinGptTensor(file: string, name: string, raw: unknown): NDArray {
  const { shape, dtype, data } = (raw ?? {}) as { shape?: number[]; dtype?: string; data?: string };
  if (!Array.isArray(shape) || typeof data !== 'string') throw unknown(file, `${name} is no tensor`);
  if (dtype !== 'torch.float32') throw unknown(file, `${name} has the type ${dtype}, not torch.float32`);
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  if (bytes.length !== 4 * sizeOf(shape))
    throw new RankineError(
      'formats/tensor-shape',
      `In ${file}, the tensor ${name} of shape [${shape}] has ${bytes.length} bytes instead of ${4 * sizeOf(shape)}.`,
      'Download the file again.',
    );
  return { dtype: 'float32', shape, data: new Float32Array(bytes.buffer) };
}

function isConv1D(name: string): boolean {
  return /\.(c_attn|c_proj|c_fc)\.weight$/.test(name);
}

function transpose({ dtype, shape, data }: NDArray): NDArray {
  const [rows, columns] = shape;
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out[j * rows + i] = Number(data[i * columns + j]);
  return { dtype, shape: [columns, rows], data: out };
}

function configOf(
  file: string,
  config: JsonObject | undefined,
  tensors: Record<string, NDArray>,
): JsonObject {
  const wte = tensors['transformer.wte.weight'];
  const wpe = tensors['transformer.wpe.weight'];
  const heads = config?.n_head;
  if (!wte || !wpe || typeof heads !== 'number')
    throw unknown(file, 'its config.n_head or its embeddings are missing');
  const layers = Object.keys(tensors).filter((name) => name.endsWith('.ln_1.weight')).length;
  return {
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    vocab_size: wte.shape[0],
    n_embd: wte.shape[1],
    n_positions: wpe.shape[0],
    n_layer: layers,
    n_head: heads,
    activation_function: 'gelu_new',
    layer_norm_epsilon: 1e-5,
    tie_word_embeddings: false,
  };
}

function unknown(file: string, fact: string): RankineError {
  return new RankineError(
    'formats/unknown-format',
    `${file} is no minGPT model in JSON: ${fact}.`,
    'Give the file that llm-viz publishes, or one of its form.',
  );
}
