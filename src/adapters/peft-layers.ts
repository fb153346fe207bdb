import type { PeftAdapter } from '../formats/peft.ts';
import type { PeftConfig } from '../formats/peft-config.ts';
import { PEFT_PARTS, parsePeftName } from '../formats/peft-names.ts';
import type { NDArray } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { AdapterOptions } from './options.ts';
import { checkPart, collectParts, otherFlavour } from './peft-parts.ts';
import type { ExportedFactors } from './weight-form.ts';

/** Tensors of a PEFT file other than LORA's, in order. */
export interface PeftParts {
  readonly layers: ReadonlyMap<string, { spec: LayerSpec; parts: Readonly<Record<string, NDArray>> }>;
  readonly shared: Readonly<Record<string, NDArray>>;
}

/**
 * Sorts the tensors of an adapter of the type `type` by layer.
 *
 * @throws RankineError `adapters/peft-flavour` for another type, `adapters/other-base` for layers that the model lacks
 */
export function peftParts(adapter: PeftAdapter, type: string, layers: readonly LayerSpec[]): PeftParts {
  if (adapter.config.peft_type !== type) throw otherFlavour();
  const own = Object.fromEntries(PEFT_PARTS[type].map((part) => [part, part]));
  const found = collectParts(adapter, layers, () => own);
  const shared: Record<string, NDArray> = {};
  for (const [name, array] of Object.entries(adapter.tensors)) {
    const place = parsePeftName(type, name);
    if (place.kind === 'shared') shared[place.part] = array;
  }
  return {
    layers: new Map([...found].map(([spec, parts]) => [spec.name, { spec, parts }])),
    shared,
  };
}

/** A tensor that must be there with this shape; axes where `shape` has −1 may have any length. */
export function requirePart(
  parts: Readonly<Record<string, NDArray>>,
  part: string,
  owner: string,
  shape: readonly number[],
): NDArray {
  checkPart({ name: owner }, part, parts[part], shape);
  return parts[part];
}

/** Configuration fields of every PEFT type. */
export function commonConfig(
  type: string,
  layers: readonly ExportedFactors[],
  options: AdapterOptions,
): PeftConfig {
  return {
    peft_type: type,
    task_type: null,
    base_model_name_or_path: null,
    revision: null,
    inference_mode: true,
    target_modules: layers.map((l) => l.spec.name).sort(),
    fan_in_fan_out: layers.some((l) => l.fanInFanOut),
    ...(options.modulesToSave.length > 0 ? { modules_to_save: options.modulesToSave } : {}),
  };
}

/** PEFT names the biases of targeted layers after its type: `vera_only` for `lora_only`. */
export function biasToPeft(bias: AdapterOptions['bias'], prefix: string): string {
  return bias === 'lora_only' ? `${prefix}_only` : bias;
}

/** Options that every PEFT type's configuration holds. */
export function commonOptions(config: PeftConfig, parts: PeftParts, prefix: string): Record<string, unknown> {
  const bias = config.bias === `${prefix}_only` ? 'lora_only' : (config.bias ?? 'none');
  return {
    rank: config.r,
    dropout: config[`${prefix}_dropout`] ?? 0,
    targets: [...parts.layers.keys()],
    modulesToSave: config.modules_to_save ?? [],
    bias,
  };
}
