import type { Command } from 'commander';
import { mergeFlylora } from '../../adapters/index.ts';
import { createEngine } from '../../engine/index.ts';
import { readPeftAdapter, resolveModel, writePeftAdapter } from '../../formats/index.ts';
import { writeMerged } from '../../training/index.ts';
import { collected, oneOf } from '../flag-values.ts';
import { modelOptions } from '../model-options.ts';
import { type ModelFlags, openAdapted } from '../open-model.ts';
import type { Verb } from '../program.ts';
import { styleFor } from '../terminal/index.ts';

interface Options extends ModelFlags {
  readonly adapter: string;
  readonly output: string;
  /** Adapters of other tasks. */
  readonly with?: readonly string[];
  readonly dtype: 'f32' | 'f16' | 'bf16';
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

const EXAMPLES = `
Writes a Hugging Face folder whose weights contain the adapter: it runs wherever the base runs, without PEFT.
With --with, FlyLoRA adapters of several tasks become one adapter, their average, instead.

Examples:
  rankine merge --adapter runs/latest/adapter --output merged
  rankine merge --model gpt2 --adapter runs/latest/adapter --output merged --dtype bf16
  rankine merge --adapter runs/task1/adapter --with runs/task2/adapter --output both`;

export const mergeVerb: Verb = {
  define(command: Command) {
    modelOptions(command)
      .requiredOption('--output <folder>', 'folder of the merged model')
      .option(
        '--with <folder>',
        'average with this adapter too (FlyLoRA); may be given several times',
        collected,
      )
      .option('--dtype <type>', 'type of the weights: f32, f16 or bf16', oneOf('f32', 'f16', 'bf16'), 'f32')
      .option('--overwrite', 'replace the folder if it is there')
      .option('--json', 'one JSON object at the end')
      .addHelpText('after', EXAMPLES)
      .action(run);
  },
};

const DTYPES = { f32: 'F32', f16: 'F16', bf16: 'BF16' } as const;

async function run(options: Options, command: Command): Promise<void> {
  if (options.adapter === undefined)
    command.error("error: required option '--adapter <folder>' not specified");
  if (options.with) return averageTasks(options, options.with);
  const { model, adaptation, base } = await openAdapted(options);
  const engine = await createEngine({ device: options.device, threads: options.threads });
  try {
    const { output, dtype, overwrite } = options;
    await writeMerged(output, engine, model, adaptation, { dtype: DTYPES[dtype], replace: overwrite });
  } finally {
    await engine.dispose();
  }
  report(options, base, adaptation!.layers.length);
}

async function averageTasks(
  { adapter, output, overwrite, json }: Options,
  others: readonly string[],
): Promise<void> {
  const tasks = [];
  for (const path of [adapter, ...others]) tasks.push(await readPeftAdapter(await resolveModel(path)));
  const merged = mergeFlylora(tasks);
  await writePeftAdapter(output, merged, { replace: overwrite });
  const type = merged.config.peft_type;
  const text = json
    ? JSON.stringify({ output, tasks: tasks.length, type })
    : `The average of ${tasks.length} tasks, of the type ${type}, is in ${styleFor(process.stdout).strong(output)}.`;
  process.stdout.write(`${text}\n`);
}

function report({ json, output, dtype, adapter }: Options, base: string, layers: number): void {
  const style = styleFor(process.stdout);
  const text = json
    ? JSON.stringify({ output, base, adapter, layers, dtype })
    : `${base} with ${layers} layers merged, ${dtype}, is in ${style.strong(output)}.\nTry next:\n  ${style.accent(`npx rankine generate --model ${output} --prompt "…"`)}`;
  process.stdout.write(`${text}\n`);
}
