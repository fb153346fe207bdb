import { RankineError } from '../errors.ts';
import type { PeftAdapter } from '../formats/peft.ts';
import { loraConfig, type PeftConfig } from '../formats/peft-config.ts';
import { parsePeftName, peftName } from '../formats/peft-names.ts';
import type { NDArray } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { type AdapterOptions, adapterOptions, resolveOptions } from './options.ts';
import type { Arrays, ExportedFactors, Factors, PeftImport } from './weight-form.ts';

/** Names of the factors in our arrays and in PEFT's LORA files. */
const PARTS = { A: 'lora_A.weight', B: 'lora_B.weight', magnitude: 'lora_magnitude_vector' } as const;
const EMBEDDING_PARTS = { A: 'lora_embedding_A', B: 'lora_embedding_B' } as const;

/** A LORA file from factors A, B (and DoRA's magnitude); ranks and alphas that differ go into patterns. */
export function loraToPeft(
  layers: readonly ExportedFactors[],
  options: AdapterOptions,
  extra: Partial<PeftConfig>,
): PeftAdapter {
  const tensors: Record<string, NDArray> = {};
  for (const layer of layers) {
    const parts: Record<string, string> = layer.spec.kind === 'embedding' ? EMBEDDING_PARTS : PARTS;
    for (const [ours, theirs] of Object.entries(parts))
      if (layer.arrays[ours]) tensors[peftName(layer.spec.name, theirs)] = layer.arrays[ours];
  }
  const { rank } = options;
  const alpha = options.alpha ?? 2 * rank;
  const pattern = (value: (l: ExportedFactors) => number, usual: number) =>
    Object.fromEntries(layers.filter((l) => value(l) !== usual).map((l) => [l.spec.name, value(l)]));
  const config = loraConfig({
    r: rank,
    lora_alpha: alpha,
    lora_dropout: options.dropout,
    target_modules: layers.map((l) => l.spec.name).sort(),
    bias: options.bias,
    fan_in_fan_out: layers.some((l) => l.fanInFanOut),
    rank_pattern: pattern((l) => l.options.rank, rank),
    alpha_pattern: pattern((l) => l.options.alpha!, alpha),
    ...(options.modulesToSave.length > 0 ? { modules_to_save: options.modulesToSave } : {}),
    ...extra,
  });
  return { config, tensors };
}

/** Factors of a LORA file by layer; refuses files of another base or of another flavour of LoRA. */
export function loraFromPeft(
  adapter: PeftAdapter,
  layers: readonly LayerSpec[],
  flavour: { dora?: boolean; rslora?: boolean },
): PeftImport {
  const { config, tensors } = adapter;
  if (
    config.peft_type !== 'LORA' ||
    Boolean(config.use_dora) !== Boolean(flavour.dora) ||
    Boolean(config.use_rslora) !== Boolean(flavour.rslora)
  )
    throw new RankineError(
      'adapters/peft-flavour',
      'The adapter is of another type or another flavour of LoRA.',
    );
  const known = new Map(layers.map((l) => [l.name, l]));
  const found = new Map<string, Record<string, NDArray>>();
  for (const [name, array] of Object.entries(tensors)) {
    const place = parsePeftName('LORA', name);
    if (place.kind !== 'part') continue;
    const layer = known.get(place.module);
    if (!layer) throw otherBase(place.module);
    const ours = Object.entries({ ...PARTS, ...(layer.kind === 'embedding' ? EMBEDDING_PARTS : {}) }).find(
      ([, theirs]) => theirs === place.part,
    )?.[0];
    if (!ours) throw new RankineError('adapters/peft-part', `The adapter's tensor ${name} is not known.`);
    const parts = found.get(place.module) ?? {};
    parts[ours] = array;
    found.set(place.module, parts);
  }
  const options = adapterOptions.parse({
    rank: config.r ?? 8,
    alpha: config.lora_alpha ?? 8,
    dropout: config.lora_dropout ?? 0,
    targets: [...found.keys()],
    rankPattern: config.rank_pattern ?? {},
    alphaPattern: config.alpha_pattern ?? {},
    modulesToSave: config.modules_to_save ?? [],
    bias: config.bias ?? 'none',
  });
  const factors = new Map<string, Factors>();
  for (const [name, arrays] of found) {
    checkShapes(known.get(name)!, arrays, resolveOptions(options, known.get(name)!).rank);
    factors.set(name, { trainable: arrays, frozen: {} });
  }
  return { options, factors };
}

function checkShapes(layer: LayerSpec, { A, B }: Arrays, rank: number): void {
  const [m, n] = layer.kind === 'embedding' ? [layer.in, layer.out] : [layer.out, layer.in];
  const fits = A && B && A.shape[0] === rank && A.shape[1] === n && B.shape[0] === m && B.shape[1] === rank;
  if (!fits)
    throw new RankineError(
      'adapters/other-base',
      `The adapter's factors for ${layer.name} are [${A?.shape}] and [${B?.shape}], but the layer takes [${rank},${n}] and [${m},${rank}].`,
      'Use the base model that the adapter was trained on.',
    );
}

function otherBase(module: string): RankineError {
  return new RankineError(
    'adapters/other-base',
    `The adapter holds factors for ${module}, which this model does not have.`,
    'Use the base model that the adapter was trained on.',
  );
}
