import type { PeftAdapter } from '../formats/peft.ts';
import { loraConfig } from '../formats/peft-config.ts';
import { peftName } from '../formats/peft-names.ts';
import { type NDArray, zeros } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { type AdaloraOptions, adaloraOptions, adaloraScale } from './adalora-options.ts';
import { productsToPeft } from './lora-peft.ts';
import { checkPart, collectParts, otherFlavour } from './peft-parts.ts';
import type { Arrays, ExportedFactors, Factors, PeftImport } from './weight-form.ts';

const PARTS = { A: 'lora_A', B: 'lora_B', e: 'lora_E' };

/** The triplets that are on; those with e = 0 add nothing, so leaving them out is exact. */
function liveTriplets({ A, B, e }: Arrays): { A: NDArray; B: NDArray; e: Float32Array; kept: boolean[] } {
  const [r, n] = A.shape;
  const [m] = B.shape;
  const kept = Array.from(e.data as Float32Array, (x) => x !== 0);
  const rows = kept.flatMap((on, i) => (on ? [i] : []));
  const [shortA, shortB] = [zeros([rows.length, n]), zeros([m, rows.length])];
  for (const [k, i] of rows.entries()) {
    (shortA.data as Float32Array).set((A.data as Float32Array).subarray(i * n, (i + 1) * n), k * n);
    for (let j = 0; j < m; j++) shortB.data[j * rows.length + k] = B.data[j * r + i];
  }
  return { A: shortA, B: shortB, e: Float32Array.from(rows, (i) => Number(e.data[i])), kept };
}

/** PEFT's ADALORA file: live rows only, the masks in `rank_pattern`. */
export function adaloraToPeft(
  layers: readonly ExportedFactors<AdaloraOptions>[],
  o: AdaloraOptions,
): PeftAdapter {
  const tensors: Record<string, NDArray> = {};
  const pattern: Record<string, boolean[]> = {};
  for (const { spec, arrays } of layers) {
    const { A, B, e, kept } = liveTriplets(arrays);
    tensors[peftName(spec.name, PARTS.A)] = A;
    tensors[peftName(spec.name, PARTS.B)] = B;
    tensors[peftName(spec.name, PARTS.e)] = { dtype: 'float32', shape: [e.length, 1], data: e };
    pattern[`${spec.name}.${PARTS.e}`] = kept;
  }
  const config = loraConfig({
    peft_type: 'ADALORA',
    init_r: o.rank,
    target_r: o.targetRank,
    lora_alpha: o.alpha,
    lora_dropout: o.dropout,
    beta1: o.beta1,
    beta2: o.beta2,
    orth_reg_weight: o.orthogonality,
    deltaT: o.every,
    // PEFT refuses a file without a schedule that leaves a step to allocate; a finished adapter has nothing left to do.
    tinit: 0,
    tfinal: 0,
    total_step: 1,
    target_modules: layers.map((l) => l.spec.name).sort(),
    bias: o.bias,
    fan_in_fan_out: layers.some((l) => l.fanInFanOut),
    rank_pattern: pattern,
    ...(o.modulesToSave.length > 0 ? { modules_to_save: o.modulesToSave } : {}),
  });
  return { config, tensors };
}

/** The same as PEFT's LORA: A and s B diag(e) of the live triplets; layers that have none are left out. */
export function adaloraToLora(
  layers: readonly ExportedFactors<AdaloraOptions>[],
  o: AdaloraOptions,
): PeftAdapter {
  const products = layers.map((layer) => {
    const { A, B, e } = liveTriplets(layer.arrays);
    const factor = adaloraScale(o);
    const data = (B.data as Float32Array).map((x, i) => x * e[i % e.length] * factor);
    return { layer, A, B: { ...B, data } };
  });
  return productsToPeft(
    products.filter(({ A }) => A.shape[0] > 0),
    o,
  );
}

/** Factors of an ADALORA file; triplets that were pruned come back as zeros. */
export function adaloraFromPeft(
  adapter: PeftAdapter,
  layers: readonly LayerSpec[],
): PeftImport<AdaloraOptions> {
  const { config } = adapter;
  if (config.peft_type !== 'ADALORA') throw otherFlavour();
  const found = collectParts(adapter, layers, () => PARTS);
  const rank = Number(config.init_r ?? 12);
  const options = adaloraOptions.parse({
    rank,
    targetRank: config.target_r ?? undefined,
    // 0 or less means 1 / r₀ times r₀.
    alpha: (config.lora_alpha ?? 8) > 0 ? (config.lora_alpha ?? 8) : rank,
    dropout: config.lora_dropout ?? 0,
    targets: [...found.keys()].map((layer) => layer.name),
    modulesToSave: config.modules_to_save ?? [],
    bias: config.bias ?? 'none',
    beta1: config.beta1 ?? undefined,
    beta2: config.beta2 ?? undefined,
    orthogonality: config.orth_reg_weight ?? undefined,
    startSteps: config.tinit ?? undefined,
    finalSteps: config.tfinal ?? undefined,
    every: config.deltaT ?? undefined,
  });
  const factors = new Map<string, Factors>();
  for (const [layer, parts] of found) {
    const mask = config.rank_pattern?.[`${layer.name}.${PARTS.e}`];
    const kept = Array.isArray(mask) ? mask : new Array<boolean>(rank).fill(true);
    factors.set(layer.name, { trainable: expanded(layer, parts, kept), frozen: {} });
  }
  return { options, factors };
}

function expanded(layer: LayerSpec, { A, B, e }: Arrays, kept: readonly boolean[]): Arrays {
  const rows = kept.flatMap((on, i) => (on ? [i] : []));
  const [m, n, live, r] = [layer.out, layer.in, rows.length, kept.length];
  checkPart(layer, PARTS.A, A, [live, n]);
  checkPart(layer, PARTS.B, B, [m, live]);
  checkPart(layer, PARTS.e, e, [live, 1]);
  const [wholeA, wholeB, wholeE] = [zeros([r, n]), zeros([m, r]), zeros([r])];
  for (const [k, i] of rows.entries()) {
    wholeE.data[i] = e.data[k];
    (wholeA.data as Float32Array).set((A.data as Float32Array).subarray(k * n, (k + 1) * n), i * n);
    for (let j = 0; j < m; j++) wholeB.data[j * r + i] = B.data[j * live + k];
  }
  return { e: wholeE, A: wholeA, B: wholeB };
}
