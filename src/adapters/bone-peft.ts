import { RankineError } from '../errors.ts';
import type { PeftAdapter } from '../formats/peft.ts';
import { loraConfig, type PeftConfig } from '../formats/peft-config.ts';
import { peftName } from '../formats/peft-names.ts';
import { type NDArray, zeros } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { type BoneMode, type BoneOptions, boneOptions } from './bone-options.ts';
import { boneShape } from './bone-shape.ts';
import { productsToPeft } from './lora-peft.ts';
import { checkPart, collectParts, otherFlavour } from './peft-parts.ts';
import type { ExportedFactors, Factors, PeftImport } from './weight-form.ts';

/** MISS, or BONE as it was called up to PEFT 0.18. */
const PARTS: Readonly<Record<string, string>> = { MISS: 'miss_block', BONE: 'bone_block' };

/** What PEFT's `init_weights` calls the modes; `balance` is true. */
function initWeights(mode: BoneMode): string | boolean {
  return mode === 'balance' ? true : mode;
}

/** PEFT's MISS file. PEFT itself puts MISS on plain linear layers only, not on GPT-2's. */
export function boneToPeft(layers: readonly ExportedFactors<BoneOptions>[], o: BoneOptions): PeftAdapter {
  const tensors = Object.fromEntries(
    layers.map(({ spec, arrays }) => [peftName(spec.name, PARTS.MISS), arrays.K]),
  );
  const { inference_mode, task_type, base_model_name_or_path, revision } = loraConfig({});
  const config: PeftConfig = {
    peft_type: 'MISS',
    task_type,
    base_model_name_or_path,
    revision,
    inference_mode,
    r: o.rank,
    init_weights: initWeights(o.mode),
    mini_r: o.miniRank ?? 1,
    miss_dropout: o.dropout,
    bias: o.bias === 'lora_only' ? 'MiSS_only' : o.bias,
    target_modules: layers.map((l) => l.spec.name).sort(),
    ...(o.modulesToSave.length > 0 ? { modules_to_save: o.modulesToSave } : {}),
  };
  return { config, tensors };
}

/**
 * `balance` and `mini` as LORA: A = [I I … I] cut to n columns, B = Kᵀ.
 *
 * @throws RankineError `adapters/no-lora` for `bat`, whose change has full rank
 */
export function boneToLora(layers: readonly ExportedFactors<BoneOptions>[], o: BoneOptions): PeftAdapter {
  if (o.mode === 'bat')
    throw new RankineError(
      'adapters/no-lora',
      'Bone: the change of the mode bat is not of low rank, so no LORA holds it.',
      "Write it as PEFT's MISS, or the merged model.",
    );
  const products = layers.map((layer) => ({
    layer,
    A: tiledIdentity(o.rank, layer.spec.in),
    B: tiledTranspose(layer.arrays.K, layer.spec.out),
  }));
  return productsToPeft(products, o);
}

function tiledIdentity(r: number, n: number): NDArray {
  const A = zeros([r, n]);
  for (let j = 0; j < n; j++) A.data[(j % r) * n + j] = 1;
  return A;
}

/** Kᵀ with its q rows repeated to m: B[o, t] = K[t, o mod q]. */
function tiledTranspose(K: NDArray, m: number): NDArray {
  const [r, q] = K.shape;
  const B = zeros([m, r]);
  for (let o = 0; o < m; o++) for (let t = 0; t < r; t++) B.data[o * r + t] = K.data[t * q + (o % q)];
  return B;
}

/** Factors of a MISS or an old BONE file. */
export function boneFromPeft(adapter: PeftAdapter, layers: readonly LayerSpec[]): PeftImport<BoneOptions> {
  const { config } = adapter;
  const part = PARTS[config.peft_type];
  if (!part) throw otherFlavour();
  const found = collectParts(adapter, layers, () => ({ K: part }));
  const mode = modeOf(config);
  const options = boneOptions.parse({
    rank: config.r ?? 64,
    mode,
    miniRank: mode === 'mini' ? (config.mini_r ?? 1) : undefined,
    dropout: mode === 'bat' ? 0 : (config.miss_dropout ?? 0),
    targets: [...found.keys()].map((layer) => layer.name),
    modulesToSave: config.modules_to_save ?? [],
    bias: config.bias === 'MiSS_only' ? 'lora_only' : (config.bias ?? 'none'),
  });
  const factors = new Map<string, Factors>();
  for (const [layer, { K }] of found) {
    checkPart(layer, part, K, boneShape(layer, options));
    factors.set(layer.name, { trainable: { K }, frozen: {} });
  }
  return { options, factors };
}

/** `false` only asked for another start. */
function modeOf({ init_weights: init }: PeftConfig): BoneMode {
  return init === 'bat' || init === 'mini' ? init : 'balance';
}
