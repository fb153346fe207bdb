import type { WeightForm } from '../adapters/index.ts';
import type { Engine } from '../engine/index.ts';
import { RankineError } from '../errors.ts';
import type { PeftAdapter } from '../formats/index.ts';
import { type LazyTensor, peftBaseName, writeCheckpoint, writePeftAdapter } from '../formats/index.ts';
import { input, type NDArray, program } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { Model } from '../models/model.ts';
import { type Adaptation, canonicalWeight, factorName, transposed } from './adaptation.ts';
import { classesOf } from './classes.ts';
import { moduleOf } from './modules.ts';
import type { Trainable } from './trainables.ts';

const TASK_TYPES = {
  'language-modelling': 'CAUSAL_LM',
  'sequence-classification': 'SEQ_CLS',
  embedding: 'FEATURE_EXTRACTION',
  'image-classification': null,
} as const;

export interface PeftExportOptions {
  /**
   * `own` (default): the form's type in PEFT; `lora`: PEFT's plain LORA, for tools that read nothing else; `compact`: the
   * form's smallest file, which only this package reads.
   */
  readonly as?: 'own' | 'lora' | 'compact';
}

/**
 * The adaptation as PEFT reads it.
 *
 * @throws RankineError `training/no-peft` where the form has no exact PEFT file, `adapters/no-lora`,
 *   `training/no-compact`
 */
export function toPeftAdapter(
  model: Model,
  adaptation: Adaptation,
  trained: readonly Trainable[],
  base: string,
  { as = 'own' }: PeftExportOptions = {},
): PeftAdapter {
  const { form, options } = adaptation;
  const adapter = writerOf(form, as)(
    adaptation.layers.map((l) => ({
      spec: l.spec,
      options: l.options,
      arrays: { ...l.frozen, ...l.trainable },
      fanInFanOut: l.spec.transposed ?? false,
    })),
    options,
  );
  if (as === 'lora' && !isPlainLora(adapter)) throw noLora(form);
  const targeted = new Set(adaptation.layers.map((l) => l.spec.name));
  const extra = trained.filter((t) => t.info.role !== 'factor');
  const tensors = { ...adapter.tensors };
  for (const { info, array } of extra)
    tensors[peftBaseName(info.name, targeted.has(info.name.replace(/\.[^.]+$/, '')))] = array;
  const saved = [...new Set([...options.modulesToSave, ...freshModules(model)])];
  const classes = model.architecture.task.endsWith('classification') ? classesOf(model) : 0;
  return {
    ...(typeof classes === 'number' ? {} : { labels: classes }),
    config: {
      ...adapter.config,
      base_model_name_or_path: base,
      task_type: TASK_TYPES[model.architecture.task],
      ...(saved.length > 0 ? { modules_to_save: saved } : {}),
    },
    tensors,
  };
}

function writerOf(form: WeightForm, as: PeftExportOptions['as']): NonNullable<WeightForm['toPeft']> {
  if (as === 'compact') {
    if (form.toCompact) return form.toCompact;
    throw new RankineError(
      'training/no-compact',
      `${form.name} has no file smaller than PEFT's.`,
      'Leave --compact out.',
    );
  }
  const write = (as === 'lora' ? form.toLora : undefined) ?? form.toPeft;
  if (write) return write;
  throw new RankineError(
    'training/no-peft',
    `${form.name} has no exact form among PEFT's types.`,
    `Use the run's merged model${form.toLora ? ', or export with --as-lora' : ''}.`,
  );
}

function isPlainLora({ config }: PeftAdapter): boolean {
  return config.peft_type === 'LORA' && !config.use_dora;
}

function noLora(form: WeightForm): RankineError {
  return new RankineError(
    'adapters/no-lora',
    `The change of ${form.name} is no plain LORA.`,
    "Leave --as-lora out for the form's own type.",
  );
}

/** Freshly drawn modules as PEFT's `modules_to_save` finds them: by the shortest ending that no other module has. */
function freshModules({ architecture, fresh }: Model): string[] {
  const all = [...new Set([...architecture.parameters.keys()].map(moduleOf))];
  return [...new Set(fresh.map(moduleOf))].map((name) => {
    const parts = name.split('.');
    const endings = parts.map((_, i) => parts.slice(parts.length - 1 - i).join('.'));
    return endings.find((ending) => all.filter((other) => other.endsWith(ending)).length === 1) ?? name;
  });
}

/** Writes `toPeftAdapter` to a folder, and returns it. */
export async function writeAdapter(
  folder: string,
  model: Model,
  adaptation: Adaptation,
  trained: readonly Trainable[],
  base: string,
  options: PeftExportOptions = {},
): Promise<PeftAdapter> {
  const adapter = toPeftAdapter(model, adaptation, trained, base, options);
  await writePeftAdapter(folder, adapter, { replace: true });
  return adapter;
}

/** The effective weight of an adapted layer, out×in, from the form's symbolic `weight`. */
export async function mergedWeight(
  engine: Engine,
  model: Model,
  adaptation: Adaptation,
  layerName: string,
): Promise<NDArray> {
  const layer = adaptation.layers.find((l) => l.spec.name === layerName)!;
  const { spec } = layer;
  const weight = adaptation.form.discardsBase ? undefined : canonicalWeight(model, spec);
  const arrays = { ...layer.frozen, ...layer.trainable };
  const symbols = Object.fromEntries(
    Object.entries(arrays).map(([k, a]) => [k, input(factorName('', k), a.shape, a.dtype)]),
  );
  const base = input('w', weight?.shape ?? [spec.out, spec.in]);
  const w = adaptation.form.weight(base, symbols, layer.options, spec);
  const executable = await engine.compile(program({ w }));
  const feeds: Record<string, NDArray> = {};
  for (const { name } of executable.inputs) feeds[name] = name === 'w' ? weight! : arrays[name.slice(1)];
  return (await executable.run(feeds)).w;
}

/** Writes a whole Hugging Face folder with the adaptation folded into the weights, one tensor in memory at a time. */
export async function writeMerged(
  folder: string,
  engine: Engine,
  model: Model,
  adaptation: Adaptation | undefined,
  options: { dtype?: 'F32' | 'F16' | 'BF16'; replace?: boolean } = {},
): Promise<void> {
  const adapted = new Map<string, LayerSpec>(
    adaptation?.layers.map((l) => [`${l.spec.name}.weight`, l.spec]),
  );
  const tensors: LazyTensor[] = [...model.weights].map(([name, array]) => ({
    name,
    shape: array.shape,
    dtype: array.dtype,
    read: async () => {
      const layer = adapted.get(name);
      if (!layer || !adaptation) return array;
      const merged = await mergedWeight(engine, model, adaptation, layer.name);
      return layer.transposed ? transposed(merged) : merged;
    },
  }));
  await writeCheckpoint(folder, model.config, tensors, { ...options, copyFrom: model.folder });
}
