import {
  type AdaptedLayer,
  forms,
  type PeftImport,
  resolveOptions,
  type WeightForm,
} from '../adapters/index.ts';
import { RankineError } from '../errors.ts';
import { type PeftAdapter, parsePeftName, readPeftAdapter } from '../formats/index.ts';
import type { NDArray } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { Model } from '../models/model.ts';
import { type Adaptation, storeWeight } from './adaptation.ts';

/**
 * Puts a PEFT adapter folder on a model: factors by the form that reads its type; trained biases and whole modules
 * (`modules_to_save`) are copied into the model's weights.
 *
 * @throws RankineError those of `readPeftAdapter`; `adapters/unknown-type`; `adapters/other-base` where layers, tensors or
 *   shapes are not those of the model
 */
export async function loadAdapter(model: Model, folder: string): Promise<Adaptation> {
  return applyAdapter(model, await readPeftAdapter(folder));
}

/** The same from an adapter that has been read. */
export function applyAdapter(model: Model, adapter: PeftAdapter): Adaptation {
  const { form, imported } = importAdapter(adapter, model.architecture.layers);
  const { options, factors } = imported;
  if (factors.size === 0)
    throw new RankineError(
      'adapters/empty',
      'The adapter holds no factors.',
      'Save it again after training.',
    );
  copyBaseTensors(model, adapter);
  const layers = model.architecture.layers.flatMap((spec): AdaptedLayer[] => {
    const own = factors.get(spec.name);
    if (!own) return [];
    if (own.base) storeWeight(model, spec, own.base);
    return [{ spec, options: resolveOptions(options, spec), trainable: own.trainable, frozen: own.frozen }];
  });
  return { form, options, layers };
}

/** The first form that reads the adapter: each refuses other types and flavours. */
function importAdapter(
  adapter: PeftAdapter,
  layers: readonly LayerSpec[],
): { form: WeightForm; imported: PeftImport } {
  for (const form of forms) {
    if (!form.fromPeft) continue;
    try {
      return { form, imported: form.fromPeft(adapter, layers) };
    } catch (error) {
      if (!(error instanceof RankineError) || error.code !== 'adapters/peft-flavour') throw error;
    }
  }
  const { peft_type: type } = adapter.config;
  throw new RankineError(
    'adapters/unknown-type',
    `No method here reads adapters of the type ${type}.`,
    `Merge it with the tool that wrote it, or use one of ${readers().join(', ')}.`,
  );
}

function readers(): string[] {
  return forms.filter((form) => form.fromPeft).map((form) => form.name);
}

/** Tensors of the base itself that were trained beside the factors. */
function copyBaseTensors(model: Model, { config, tensors }: PeftAdapter): void {
  for (const [name, array] of Object.entries(tensors)) {
    const place = parsePeftName(config.peft_type, name);
    if (place.kind !== 'base') continue;
    const target = model.weights.get(place.tensor);
    if (!target || target.shape.join() !== array.shape.join()) throw otherBase(place.tensor, array, target);
    (target.data as Float32Array).set(array.data as Float32Array);
  }
}

function otherBase(tensor: string, array: NDArray, target: NDArray | undefined): RankineError {
  const has = target ? `has it as [${target.shape}]` : 'does not have it';
  return new RankineError(
    'adapters/other-base',
    `The adapter holds the tensor ${tensor} of shape [${array.shape}], but this model ${has}.`,
    'Use the base model, the task and the classes that the adapter was trained with.',
  );
}
