import type { Command } from 'commander';
import { integerFlag } from './flag-values.ts';

/** Adds the flags of `ModelFlags`. */
export function modelOptions(command: Command): Command {
  return command
    .option(
      '--model <path>',
      'base model: a folder, or owner/name[@revision] (default: the one that the adapter names)',
    )
    .option('--adapter <folder>', 'PEFT adapter: a folder, or a hub id')
    .option('--device <name>', 'cpu, cuda, webgpu, coreml, dml or wasm')
    .option('--threads <n>', 'threads of the engine', integerFlag);
}
