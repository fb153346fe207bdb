import type { Command } from 'commander';
import { collected, integerFlag, numberFlag } from './flag-values.ts';
import { parseTargets } from './targets.ts';

/** The recipe and the flags that override it: of every verb that takes one. */
export function recipeOptions(command: Command): Command {
  return command
    .argument('[recipe]', 'recipe file; not needed where --model and --data are given')
    .option('--model <path>', 'base model: a folder, or owner/name[@revision] on the hub')
    .option('--data <path>', 'training data; may be given several times', collected)
    .option('--validation <path>', 'data for evaluations during training')
    .option('--adapter <name>', 'weight form (rankine methods lists them), or full')
    .option('--rank <n>', 'rank of the adapter', integerFlag)
    .option('--alpha <x>', 'scale of the adapter: alpha / rank', numberFlag)
    .option('--targets <names>', 'layers: all-linear, suffixes with commas, or an expression', parseTargets)
    .option('--optimizer <name>', 'optimizer (rankine methods lists them)')
    .option('--rate <x>', 'peak learning rate', numberFlag)
    .option('--steps <n>', 'updates', integerFlag)
    .option('--epochs <x>', 'passes over the data, instead of steps', numberFlag)
    .option('--batch <n>', 'rows in a batch', integerFlag)
    .option('--accumulate <n>', 'batches per update', integerFlag)
    .option('--seed <n>', 'seed of all that is random', integerFlag)
    .option('--execution <how>', 'whole (fastest), blockwise (least memory) or auto')
    .option('--output <folder>', 'folder of the run')
    .option('--device <name>', 'cpu, cuda, webgpu, coreml, dml or wasm')
    .option('--threads <n>', 'threads of the engine', integerFlag)
    .option('--set <key=value>', 'any other field of the recipe, by its path', collected);
}

/** Flags as they stand in for fields: one data set is one word. */
export function flagsOf<T extends { readonly data?: readonly string[] }>(options: T) {
  return { ...options, data: options.data?.length === 1 ? options.data[0] : options.data };
}
