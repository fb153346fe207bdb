import { RankineError } from '../errors.ts';
import type { PeftAdapter } from '../formats/peft.ts';
import { peftName } from '../formats/peft-names.ts';
import type { NDArray } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { nolaSides } from './nola-basis.ts';
import { type NolaOptions, nolaOptions } from './nola-options.ts';
import { resolveOptions } from './options.ts';
import { otherBase, otherFlavour } from './peft-parts.ts';
import { BASIS_GENERATOR } from './shared-basis.ts';
import type { ExportedFactors, Factors, PeftImport } from './weight-form.ts';

const TYPE = 'NOLA';
const PARTS = { alpha: 'nola_alpha', beta: 'nola_beta' } as const;

/**
 * NOLA's own small file: coefficients, seed and the name of the generator, 4 · 2k bytes a matrix beside names. PEFT has
 * no such type; `toPeft` writes a LORA of LoRA's size.
 */
export function nolaToFile(layers: readonly ExportedFactors<NolaOptions>[], o: NolaOptions): PeftAdapter {
  const tensors: Record<string, NDArray> = {};
  for (const { spec, arrays } of layers)
    for (const [ours, name] of Object.entries(PARTS)) tensors[peftName(spec.name, name)] = arrays[ours];
  const config = {
    peft_type: TYPE,
    generator: BASIS_GENERATOR,
    seed: o.seed,
    r: o.rank,
    nola_alpha: o.alpha ?? null,
    nola_bases: o.bases,
    nola_start: o.start,
    nola_dropout: o.dropout,
    rank_pattern: o.rankPattern,
    target_modules: layers.map((l) => l.spec.name).sort(),
    bias: o.bias,
    modules_to_save: o.modulesToSave,
  };
  return { config, tensors };
}

/**
 * Reads it and makes the bases again.
 *
 * @throws RankineError `adapters/generator` where the bases were made otherwise, `adapters/other-base`
 */
export function nolaFromFile(adapter: PeftAdapter, layers: readonly LayerSpec[]): PeftImport<NolaOptions> {
  const { config, tensors } = adapter;
  if (config.peft_type !== TYPE) throw otherFlavour();
  if (config.generator !== BASIS_GENERATOR) throw otherGenerator(String(config.generator));
  const options = nolaOptions.parse({
    rank: config.r,
    alpha: config.nola_alpha ?? undefined,
    bases: config.nola_bases,
    start: config.nola_start,
    dropout: config.nola_dropout,
    rankPattern: config.rank_pattern ?? {},
    targets: config.target_modules,
    seed: config.seed,
    bias: config.bias ?? 'none',
    modulesToSave: config.modules_to_save ?? [],
  });
  const factors = new Map<string, Factors>();
  for (const name of options.targets as string[]) {
    const spec = layers.find((l) => l.name === name);
    if (!spec) throw otherBase(`The adapter holds coefficients for ${name}, which this model does not have.`);
    const read = (part: string) => {
      const array = tensors[peftName(name, part)];
      if (array?.shape.join() === String(options.bases)) return array;
      throw otherBase(`The adapter has no ${part} of ${options.bases} numbers for ${name}.`);
    };
    factors.set(name, {
      trainable: { alpha: read(PARTS.alpha), beta: read(PARTS.beta) },
      frozen: nolaSides(spec, resolveOptions(options, spec)),
    });
  }
  return { options, factors };
}

function otherGenerator(found: string): RankineError {
  return new RankineError(
    'adapters/generator',
    `The adapter's bases come from the generator ${found}; this version makes ${BASIS_GENERATOR}.`,
    'Use the version that wrote it, and export it as LORA there.',
  );
}
