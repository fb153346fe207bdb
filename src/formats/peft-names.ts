import { RankineError } from '../errors.ts';

/** What PEFT puts before every module path of the base model, and before what a whole model shares. */
const MODULE_PREFIX = 'base_model.model.';
const SHARED_PREFIX = 'base_model.';

/**
 * The tensors that each PEFT type keeps for a module, as they are named on disk after the module path.
 * The exact spelling differs: LoRA's A and B are modules (`.weight`), DoRA's magnitude and most others bare parameters.
 */
export const PEFT_PARTS: Readonly<Record<string, readonly string[]>> = {
  LORA: [
    'lora_A.weight',
    'lora_B.weight',
    'lora_A.bias',
    'lora_B.bias',
    'lora_magnitude_vector',
    'lora_embedding_A',
    'lora_embedding_B',
  ],
  ADALORA: ['lora_A', 'lora_B', 'lora_E', 'lora_embedding_A', 'lora_embedding_B'],
  MISS: ['miss_block'],
  BONE: ['bone_block'],
  HIRA: ['hira_A', 'hira_B', 'hira_embedding_A', 'hira_embedding_B'],
  RANDLORA: ['randlora_lambda', 'randlora_gamma', 'randlora_A', 'randlora_B'],
  VERA: ['vera_lambda_b', 'vera_lambda_d'],
  // Types of our own, which PEFT does not know.
  FLYLORA: ['lora_A.weight', 'lora_B.weight', 'lora_topk_bias'],
  NOLA: ['nola_alpha', 'nola_beta'],
};

/** Tensors that a PEFT type keeps once for all modules. */
export const PEFT_SHARED: Readonly<Record<string, readonly string[]>> = {
  RANDLORA: ['randlora_A', 'randlora_B'],
  VERA: ['vera_A', 'vera_B'],
};

/** Where a tensor of an adapter belongs. */
export type PeftTensorPlace =
  /** A tensor of the method itself for the base model's module `module`. */
  | { readonly kind: 'part'; readonly module: string; readonly part: string }
  /** A tensor of the method that all modules share. */
  | { readonly kind: 'shared'; readonly part: string }
  /** A trained tensor of the base model itself, by its checkpoint name: a bias or one of `modules_to_save`. */
  | { readonly kind: 'base'; readonly tensor: string };

/** On-disk name of a method's tensor, e.g. ('transformer.h.0.attn.c_attn', 'lora_A.weight'). */
export function peftName(module: string, part: string): string {
  return `${MODULE_PREFIX}${module}.${part}`;
}

/** On-disk name of a tensor that all modules share, e.g. 'vera_A'. */
export function peftSharedName(part: string): string {
  return SHARED_PREFIX + part;
}

/**
 * On-disk name of a trained tensor of the base model (a bias, or a tensor of `modules_to_save`).
 * @param tensor its checkpoint name
 * @param targeted whether its module carries the adapter: PEFT has then wrapped it, which the name shows
 */
export function peftBaseName(tensor: string, targeted = false): string {
  if (!targeted) return MODULE_PREFIX + tensor;
  const dot = tensor.lastIndexOf('.');
  return `${MODULE_PREFIX}${tensor.slice(0, dot)}.base_layer${tensor.slice(dot)}`;
}

/**
 * The reverse of the three names above, for an adapter of type `peftType`. An unknown type's tensors are taken apart
 * at the last dot, as `base` tensors.
 *
 * @throws RankineError `formats/adapter-tensor` for a name without PEFT's prefix
 */
export function parsePeftName(peftType: string, name: string): PeftTensorPlace {
  const shared = PEFT_SHARED[peftType]?.find((part) => name === SHARED_PREFIX + part);
  if (shared) return { kind: 'shared', part: shared };
  if (!name.startsWith(MODULE_PREFIX)) throw foreignName(name);
  const path = name.slice(MODULE_PREFIX.length);
  const part = PEFT_PARTS[peftType]?.find((candidate) => path.endsWith(`.${candidate}`));
  if (part) return { kind: 'part', module: path.slice(0, -part.length - 1), part };
  return { kind: 'base', tensor: path.replace(/\.base_layer(\.[^.]+)$/, '$1') };
}

function foreignName(name: string): RankineError {
  return new RankineError(
    'formats/adapter-tensor',
    `The adapter's tensor ${name} does not begin with ${MODULE_PREFIX}, as PEFT writes it.`,
    'Save the adapter with PEFT, or convert its names.',
  );
}
