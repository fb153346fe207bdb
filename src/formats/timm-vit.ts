import { RankineError } from '../errors.ts';
import type { NDArray, Shape } from '../graph/array.ts';
import type { ConvertedModel } from './checkpoint.ts';
import type { JsonObject } from './json-keys.ts';
import type { LazyTensor } from './safetensors-write.ts';
import type { TensorFile } from './tensor-file.ts';

const NAMES: Record<string, string> = {
  cls_token: 'vit.embeddings.cls_token',
  pos_embed: 'vit.embeddings.position_embeddings',
  'patch_embed.proj': 'vit.embeddings.patch_embeddings.projection',
  norm: 'vit.layernorm',
  head: 'classifier',
};

const BLOCK_NAMES: Record<string, string> = {
  norm1: 'layernorm_before',
  norm2: 'layernorm_after',
  'attn.proj': 'attention.output.dense',
  'mlp.fc1': 'intermediate.dense',
  'mlp.fc2': 'output.dense',
};

/** How the augreg ViTs of timm expect images: x / 255 scaled from [0, 1] to [-1, 1]. */
export const TIMM_VIT_PREPROCESSOR: JsonObject = {
  image_processor_type: 'ViTImageProcessor',
  do_resize: true,
  do_rescale: true,
  do_normalize: true,
  rescale_factor: 1 / 255,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
};

/**
 * Converts a plain Vision Transformer with timm's names to Hugging Face's ViT: the fused query-key-value projection
 * is split, everything else renamed. Values are read when asked for.
 *
 * @param headSize width of an attention head, which no tensor tells; 64 in all of timm's plain ViTs
 * @throws RankineError `formats/unknown-format` naming the first tensor that has no place
 * @see https://github.com/huggingface/pytorch-image-models/blob/main/timm/models/vision_transformer.py
 */
export function convertTimmViT(file: TensorFile, headSize = 64): ConvertedModel {
  const tensors = [...file.tensors.keys()].flatMap((name) => convertTensor(file, name));
  return { config: configOf(file, headSize), tensors };
}

function convertTensor(file: TensorFile, name: string): LazyTensor[] {
  const [, layer, module, suffix] = /^(?:blocks\.(\d+)\.)?(.+?)(\.weight|\.bias)?$/.exec(name)!;
  const prefix = layer === undefined ? '' : `vit.encoder.layer.${layer}.`;
  if (layer !== undefined && module === 'attn.qkv')
    return ['query', 'key', 'value'].map((part, i) =>
      third(file, name, i, `${prefix}attention.attention.${part}${suffix}`),
    );
  const names = layer === undefined ? NAMES : BLOCK_NAMES;
  if (!Object.hasOwn(names, module)) throw unknown(file, `its tensor ${name} has no place in it`);
  const renamed = prefix + names[module] + (suffix ?? '');
  return [{ name: renamed, shape: file.tensors.get(name)!.shape, read: () => file.read(name) }];
}

/** Rows of one third of the fused projection. */
function third(file: TensorFile, name: string, part: number, target: string): LazyTensor {
  const [rows, ...rest] = file.tensors.get(name)!.shape;
  const shape: Shape = [rows / 3, ...rest];
  const read = async (): Promise<NDArray> => {
    const { data } = await file.read(name);
    const length = data.length / 3;
    return {
      dtype: 'float32',
      shape,
      data: (data as Float32Array).slice(part * length, (part + 1) * length),
    };
  };
  return { name: target, shape, read };
}

function configOf(file: TensorFile, headSize: number): JsonObject {
  const shape = (name: string): Shape => {
    const info = file.tensors.get(name);
    if (!info) throw unknown(file, `it holds no ${name}`);
    return info.shape;
  };
  const [hidden, channels, patch] = shape('patch_embed.proj.weight');
  const patches = shape('pos_embed')[1] - 1; // one position is the class token's
  const layers = [...file.tensors.keys()].filter((name) => name.endsWith('.attn.qkv.weight')).length;
  return {
    architectures: ['ViTForImageClassification'],
    model_type: 'vit',
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: hidden / headSize,
    intermediate_size: shape('blocks.0.mlp.fc1.weight')[0],
    num_channels: channels,
    patch_size: patch,
    image_size: Math.sqrt(patches) * patch,
    num_labels: shape('head.weight')[0],
    qkv_bias: file.tensors.has('blocks.0.attn.qkv.bias'),
    hidden_act: 'gelu',
    layer_norm_eps: 1e-6,
  };
}

function unknown(file: TensorFile, fact: string): RankineError {
  return new RankineError(
    'formats/unknown-format',
    `${file.file} is no plain Vision Transformer with timm's names: ${fact}.`,
    'Only plain ViTs with a class token are converted (no distillation token, no layer scale).',
  );
}
