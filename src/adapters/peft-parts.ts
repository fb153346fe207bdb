import { RankineError } from '../errors.ts';
import type { PeftAdapter } from '../formats/peft.ts';
import { parsePeftName } from '../formats/peft-names.ts';
import type { NDArray } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';

/** Our names of a layer's arrays → PEFT's names after the module path. */
export type PartNames = Readonly<Record<string, string>>;

/** The error by which a form declines a file, so that the next form is asked. */
export function otherFlavour(): RankineError {
  return new RankineError(
    'adapters/peft-flavour',
    'The adapter is of another type or another flavour of LoRA.',
  );
}

/**
 * A file's arrays by layer, under our names.
 *
 * @throws RankineError `adapters/other-base` for a layer that the model lacks, `adapters/peft-part` for an unknown tensor,
 *   `adapters/empty`
 */
export function collectParts(
  adapter: PeftAdapter,
  layers: readonly LayerSpec[],
  names: (layer: LayerSpec) => PartNames,
): Map<LayerSpec, Record<string, NDArray>> {
  const known = new Map(layers.map((l) => [l.name, l]));
  const found = new Map<LayerSpec, Record<string, NDArray>>();
  for (const [name, array] of Object.entries(adapter.tensors)) {
    const place = parsePeftName(adapter.config.peft_type, name);
    if (place.kind !== 'part') continue;
    const layer = known.get(place.module);
    if (!layer)
      throw otherBase(`The adapter holds factors for ${place.module}, which this model does not have.`);
    const ours = Object.entries(names(layer)).find(([, theirs]) => theirs === place.part)?.[0];
    if (!ours)
      throw new RankineError(
        'adapters/peft-part',
        `The adapter's tensor ${name} is none of ${Object.values(names(layer)).join(', ')}.`,
        'Merge it with the tool that wrote it.',
      );
    const parts = found.get(layer) ?? {};
    parts[ours] = array;
    found.set(layer, parts);
  }
  if (found.size === 0)
    throw new RankineError(
      'adapters/empty',
      'The adapter holds no factors.',
      'Save it again after training.',
    );
  return found;
}

/**
 * Throws `adapters/other-base` unless the array is there and has the shape that the layer takes; axes where `shape` has −1
 * may have any length.
 */
export function checkPart(
  layer: Pick<LayerSpec, 'name'>,
  part: string,
  array: NDArray | undefined,
  shape: readonly number[],
): void {
  const fits = array?.shape.length === shape.length && shape.every((d, i) => d < 0 || d === array.shape[i]);
  if (fits) return;
  const wanted = shape.map((d) => (d < 0 ? 'any' : d)).join();
  throw otherBase(
    `The adapter's ${part} for ${layer.name} is ${array ? `[${array.shape}]` : 'missing'}, but the layer takes [${wanted}].`,
  );
}

export function otherBase(fact: string): RankineError {
  return new RankineError('adapters/other-base', fact, 'Use the base model that the adapter was trained on.');
}
