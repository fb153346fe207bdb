import type { PeftAdapter } from '../formats/peft.ts';
import { peftName } from '../formats/peft-names.ts';
import type { NDArray } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { type FlyloraOptions, flyloraOptions } from './flylora-options.ts';
import { checkPart, otherBase, otherFlavour } from './peft-parts.ts';
import type { ExportedFactors, Factors, PeftImport } from './weight-form.ts';

/** A type of our own: as LORA, PEFT would read the dense branch without a word, which is another function. */
export const FLYLORA_TYPE = 'FLYLORA';
export const FLYLORA_PARTS = { A: 'lora_A.weight', B: 'lora_B.weight', bias: 'lora_topk_bias' } as const;

/** The adapter with A, B, d and what the choice needs, under the names of the authors' PEFT fork. */
export function flyloraToFile(
  layers: readonly ExportedFactors<FlyloraOptions>[],
  o: FlyloraOptions,
): PeftAdapter {
  const tensors: Record<string, NDArray> = {};
  for (const { spec, arrays } of layers)
    for (const [ours, theirs] of Object.entries(FLYLORA_PARTS))
      tensors[peftName(spec.name, theirs)] = arrays[ours];
  const config = {
    peft_type: FLYLORA_TYPE,
    r: o.rank,
    lora_alpha: o.alpha,
    top_k: o.active,
    bias_u: o.balanceRate,
    score: o.score,
    stop_gradient: o.stopGradient,
    init_lora_weights: 'sparse',
    target_modules: layers.map((l) => l.spec.name).sort(),
    bias: o.bias,
    fan_in_fan_out: layers.some((l) => l.fanInFanOut),
    modules_to_save: o.modulesToSave,
  };
  return { config, tensors };
}

export function flyloraFromFile(
  { config, tensors }: PeftAdapter,
  layers: readonly LayerSpec[],
): PeftImport<FlyloraOptions> {
  if (config.peft_type !== FLYLORA_TYPE) throw otherFlavour();
  const options = flyloraOptions.parse({
    rank: config.r,
    alpha: config.lora_alpha,
    active: config.top_k,
    balanceRate: config.bias_u,
    score: config.score,
    stopGradient: config.stop_gradient,
    targets: config.target_modules,
    bias: config.bias ?? 'none',
    modulesToSave: config.modules_to_save ?? [],
  });
  const factors = new Map<string, Factors>();
  for (const name of options.targets as string[]) {
    const spec = layers.find((l) => l.name === name);
    if (!spec) throw otherBase(`The adapter holds factors for ${name}, which this model does not have.`);
    const read = (part: keyof typeof FLYLORA_PARTS, shape: readonly number[]) => {
      const array = tensors[peftName(name, FLYLORA_PARTS[part])];
      checkPart(spec, part, array, shape);
      return array;
    };
    factors.set(name, {
      trainable: { B: read('B', [spec.out, options.rank]) },
      frozen: { A: read('A', [options.rank, spec.in]), bias: read('bias', [options.rank]) },
    });
  }
  return { options, factors };
}
