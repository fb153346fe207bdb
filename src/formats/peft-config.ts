import { z } from 'zod';
import { RankineError } from '../errors.ts';
import type { JsonObject } from './json-keys.ts';

const names = z.array(z.string());
const optional = <T extends z.ZodType>(type: T) => type.nullish();

/**
 * `adapter_config.json` as PEFT writes it. Only what every type shares and what LoRA's family needs is named here;
 * all other keys, of other types and later versions, are kept as they are.
 */
export const peftConfigSchema = z.looseObject({
  /** Method in capitals: LORA, ADALORA, MISS, RANDLORA, VERA, HIRA … */
  peft_type: z.string().min(1),
  task_type: optional(z.string()),
  base_model_name_or_path: optional(z.string()),
  revision: optional(z.string()),
  inference_mode: optional(z.boolean()),
  /** Rank. AdaLoRA has `init_r` and `target_r` beside it; other types may have none. */
  r: optional(z.int().positive()),
  /** The update is scaled by lora_alpha / r, or by lora_alpha / √r with `use_rslora`. */
  lora_alpha: optional(z.number()),
  lora_dropout: optional(z.number().min(0).max(1)),
  /** Module suffixes, a regular expression over whole paths, or `all-linear`. */
  target_modules: optional(z.union([z.string(), names])),
  exclude_modules: optional(z.union([z.string(), names])),
  /** Modules trained in full and saved beside the adapter, by suffix. */
  modules_to_save: optional(names),
  layers_to_transform: optional(z.union([z.int(), z.array(z.int())])),
  layers_pattern: optional(z.union([z.string(), names])),
  /** Rank by pattern of module path; AdaLoRA keeps masks of kept ranks here. */
  rank_pattern: optional(z.record(z.string(), z.union([z.int().positive(), z.array(z.boolean())]))),
  alpha_pattern: optional(z.record(z.string(), z.number())),
  /** Which biases are trained: `none`, `all`, or those of the targeted modules (`lora_only`). */
  bias: optional(z.string()),
  /** True where the weight is stored [in, out] (GPT-2's Conv1D). */
  fan_in_fan_out: optional(z.boolean()),
  use_rslora: optional(z.boolean()),
  use_dora: optional(z.boolean()),
  init_lora_weights: optional(z.union([z.boolean(), z.string()])),
});

export type PeftConfig = z.infer<typeof peftConfigSchema>;

/**
 * Checks a parsed `adapter_config.json`.
 *
 * @throws RankineError `formats/adapter-config` naming the file, the field and what is wrong with it
 */
export function parsePeftConfig(file: string, raw: JsonObject): PeftConfig {
  const result = peftConfigSchema.safeParse(raw);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new RankineError(
    'formats/adapter-config',
    `${file} is no readable adapter configuration: ${issue.path.join('.')}: ${issue.message}.`,
    'Correct the field, or save the adapter again.',
  );
}

/** The fields of a LoRA configuration with the values that PEFT gives the absent ones, so that a written file is explicit. */
export function loraConfig(fields: Partial<PeftConfig>): PeftConfig {
  return {
    peft_type: 'LORA',
    task_type: null,
    base_model_name_or_path: null,
    revision: null,
    inference_mode: true,
    r: 8,
    lora_alpha: 8,
    lora_dropout: 0,
    target_modules: null,
    exclude_modules: null,
    modules_to_save: null,
    layers_to_transform: null,
    layers_pattern: null,
    rank_pattern: {},
    alpha_pattern: {},
    bias: 'none',
    fan_in_fan_out: false,
    use_rslora: false,
    use_dora: false,
    init_lora_weights: true,
    ...fields,
  };
}
