import { RankineError } from '../errors.ts';
import type { PeftAdapter } from '../formats/peft.ts';
import { loraConfig, type PeftConfig } from '../formats/peft-config.ts';
import { peftName } from '../formats/peft-names.ts';
import type { NDArray } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { type AdapterOptions, type LoraOptions, loraOptions, resolveOptions } from './options.ts';
import { checkPart, collectParts, otherFlavour, type PartNames } from './peft-parts.ts';
import type { Arrays, ExportedFactors, Factors, PeftImport } from './weight-form.ts';

const PARTS: PartNames = { A: 'lora_A.weight', B: 'lora_B.weight' };
const DORA_PARTS: PartNames = { ...PARTS, magnitude: 'lora_magnitude_vector' };
const EMBEDDING_PARTS: PartNames = { A: 'lora_embedding_A', B: 'lora_embedding_B' };

function partNames(layer: LayerSpec, dora: boolean): PartNames {
  if (layer.kind === 'embedding') return EMBEDDING_PARTS;
  return dora ? DORA_PARTS : PARTS;
}

/** A LORA file from factors A, B (and DoRA's magnitude); ranks and alphas that differ go into patterns. */
export function loraToPeft(
  layers: readonly ExportedFactors<LoraOptions>[],
  options: LoraOptions,
  extra: Partial<PeftConfig>,
): PeftAdapter {
  const tensors: Record<string, NDArray> = {};
  for (const { spec, arrays } of layers)
    for (const [ours, theirs] of Object.entries(partNames(spec, Boolean(extra.use_dora))))
      tensors[peftName(spec.name, theirs)] = arrays[ours];
  const { rank } = options;
  const alpha = options.alpha ?? 2 * rank;
  const pattern = (value: (l: ExportedFactors<LoraOptions>) => number, usual: number) =>
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

/** A change B A of one layer, whatever the form that it comes from. */
export interface Product {
  readonly layer: Pick<ExportedFactors, 'spec' | 'fanInFanOut'>;
  /** k×n. */
  readonly A: NDArray;
  /** m×k. */
  readonly B: NDArray;
}

/** A LORA file of plain products: alpha is the rank, so that the scale is 1. */
export function productsToPeft(
  products: readonly Product[],
  options: AdapterOptions & { readonly dropout: number },
): PeftAdapter {
  const scaled = (rank: number): LoraOptions => ({
    ...options,
    rank,
    alpha: rank,
    rankPattern: {},
    alphaPattern: {},
  });
  const layers = products.map(({ layer, A, B }) => ({
    ...layer,
    options: scaled(A.shape[0]),
    arrays: { A, B },
  }));
  return loraToPeft(layers, scaled(options.rank), {});
}

/** Factors of a LORA file by layer; refuses files of another base or of another flavour of LoRA. */
export function loraFromPeft(
  adapter: PeftAdapter,
  layers: readonly LayerSpec[],
  { dora = false, rslora = false }: { dora?: boolean; rslora?: boolean },
): PeftImport<LoraOptions> {
  const { config } = adapter;
  if (
    config.peft_type !== 'LORA' ||
    Boolean(config.use_dora) !== dora ||
    Boolean(config.use_rslora) !== rslora
  )
    throw otherFlavour();
  refuseChangedBase(config);
  const found = collectParts(adapter, layers, (layer) => partNames(layer, dora));
  const options = loraOptions.parse({
    rank: config.r ?? 8,
    alpha: config.lora_alpha ?? 8,
    dropout: config.lora_dropout ?? 0,
    targets: [...found.keys()].map((layer) => layer.name),
    rankPattern: config.rank_pattern ?? {},
    alphaPattern: config.alpha_pattern ?? {},
    modulesToSave: config.modules_to_save ?? [],
    bias: config.bias ?? 'none',
  });
  const factors = new Map<string, Factors>();
  for (const [layer, arrays] of found) {
    checkShapes(layer, arrays, resolveOptions(options, layer).rank, dora);
    factors.set(layer.name, { trainable: arrays, frozen: {} });
  }
  return { options, factors };
}

/** Starts after which PEFT's base is no longer the model's: the factors alone do not say what the adapter computes. */
const CHANGES_BASE = /^(pissa|olora|corda|loftq|lora_ga)/;

function refuseChangedBase({ init_lora_weights: start }: PeftConfig): void {
  if (typeof start !== 'string' || !CHANGES_BASE.test(start)) return;
  throw new RankineError(
    'adapters/changed-base',
    `The adapter was saved with init_lora_weights "${start}": its factors belong to weights that PEFT changed at the start.`,
    'Save it in PEFT with path_initial_model_for_weight_conversion, which makes it a LoRA on the model itself.',
  );
}

function checkShapes(layer: LayerSpec, arrays: Arrays, rank: number, dora: boolean): void {
  const [m, n] = layer.kind === 'embedding' ? [layer.in, layer.out] : [layer.out, layer.in];
  checkPart(layer, 'A', arrays.A, [rank, n]);
  checkPart(layer, 'B', arrays.B, [m, rank]);
  if (dora) checkPart(layer, 'magnitude', arrays.magnitude, [m]);
}
