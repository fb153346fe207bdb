import { RankineError } from '../errors.ts';
import type { PeftAdapter } from '../formats/peft.ts';
import { peftName } from '../formats/peft-names.ts';
import { type NDArray, zeros } from '../graph/index.ts';
import { FLYLORA_PARTS, FLYLORA_TYPE } from './flylora-file.ts';
import { productsToPeft } from './lora-peft.ts';
import { adapterOptions } from './options.ts';

/** What tasks must have in common. */
const COMMON = [
  'peft_type',
  'r',
  'lora_alpha',
  'top_k',
  'score',
  'target_modules',
  'bias',
  'modules_to_save',
];

/**
 * Averages tasks' FlyLoRA adapters. Tasks of one A (one seed) give a FlyLoRA adapter again, B and d averaged, ranks still
 * chosen by token. Independent sparse A are nearly orthogonal: such tasks give a LORA of all their ranks, the average of
 * the dense stand-ins (α/r) B A.
 *
 * @throws RankineError `adapters/different-forms` where they are not FlyLoRA adapters of the same options and layers
 */
export function mergeFlylora(tasks: readonly PeftAdapter[]): PeftAdapter {
  const [first, ...others] = tasks;
  if (first.config.peft_type !== FLYLORA_TYPE) throw differentForms('peft_type', FLYLORA_TYPE, first);
  for (const field of COMMON)
    for (const task of others)
      if (JSON.stringify(task.config[field]) !== JSON.stringify(first.config[field]))
        throw differentForms(field, first.config[field], task);
  const layers = first.config.target_modules as string[];
  const factors = new Set(
    layers.flatMap((l) => Object.values(FLYLORA_PARTS).map((part) => peftName(l, part))),
  );
  const averaged = (keep: (name: string) => boolean) =>
    Object.fromEntries(
      Object.keys(first.tensors)
        .filter(keep)
        .map((name) => [name, average(tasks.map((t) => t.tensors[name]))]),
    );
  const projections = layers.map((l) => peftName(l, FLYLORA_PARTS.A));
  if (projections.every((name) => others.every((t) => equal(t.tensors[name], first.tensors[name]))))
    return { config: first.config, tensors: averaged(() => true) };
  const dense = standIns(tasks, layers);
  const { base_model_name_or_path, task_type } = first.config;
  return {
    config: { ...dense.config, base_model_name_or_path, task_type },
    tensors: { ...dense.tensors, ...averaged((name) => !factors.has(name)) },
  };
}

/** Σ over T tasks of (α/r) B A / T as one product of T r ranks. */
function standIns(tasks: readonly PeftAdapter[], layers: readonly string[]): PeftAdapter {
  const { config } = tasks[0];
  const scale = Number(config.lora_alpha) / Number(config.r) / tasks.length;
  const products = layers.map((name) => {
    const part = (p: 'A' | 'B') => tasks.map((t) => t.tensors[peftName(name, FLYLORA_PARTS[p])]);
    const [A, B] = [stacked(part('A')), beside(part('B'), scale)];
    const spec = { name, kind: 'linear' as const, out: B.shape[0], in: A.shape[1] };
    return { layer: { spec, fanInFanOut: Boolean(config.fan_in_fan_out) }, A, B };
  });
  const options = adapterOptions.parse({
    rank: tasks.length * Number(config.r),
    bias: config.bias,
    modulesToSave: config.modules_to_save ?? [],
  });
  return productsToPeft(products, { ...options, dropout: 0 });
}

function stacked(matrices: readonly NDArray[]): NDArray {
  const [rows, columns] = matrices[0].shape;
  const out = zeros([matrices.length * rows, columns]);
  for (const [t, { data }] of matrices.entries())
    (out.data as Float32Array).set(data as Float32Array, t * rows * columns);
  return out;
}

function beside(matrices: readonly NDArray[], scale: number): NDArray {
  const [rows, columns] = matrices[0].shape;
  const out = zeros([rows, matrices.length * columns]);
  for (let i = 0; i < rows; i++)
    for (const [t, { data }] of matrices.entries())
      for (let k = 0; k < columns; k++)
        out.data[(i * matrices.length + t) * columns + k] = scale * Number(data[i * columns + k]);
  return out;
}

function equal(a: NDArray, b: NDArray): boolean {
  return a.data.length === b.data.length && a.data.every((v: number | bigint, i: number) => v === b.data[i]);
}

function average(arrays: readonly NDArray[]): NDArray {
  const out = zeros(arrays[0].shape);
  for (let i = 0; i < out.data.length; i++)
    out.data[i] = arrays.reduce((t, a) => t + Number(a.data[i]), 0) / arrays.length;
  return out;
}

function differentForms(field: string, wanted: unknown, { config }: PeftAdapter): RankineError {
  return new RankineError(
    'adapters/different-forms',
    `Adapters to be averaged differ in ${field}: ${JSON.stringify(wanted)} and ${JSON.stringify(config[field])}.`,
    'Average FlyLoRA adapters of one rank, one scale and the same layers.',
  );
}
