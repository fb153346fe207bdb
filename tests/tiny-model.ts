import { readFileSync } from 'node:fs';
import { lazyTensors, writeCheckpoint } from '../src/formats/index.ts';
import { createModel } from '../src/models/index.ts';

const BASE = new URL('../quickstart/base/', import.meta.url).pathname;

/** Rows of prompt and completion that are part of the repository. */
export const TASK_DATA = new URL('../quickstart/data/', import.meta.url).pathname;

const TINY = {
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
};

/** Writes a llama folder with random weights and the quickstart's tokenizer; `changes` go into its config.json. */
export async function writeTinyModel(
  folder: string,
  changes: Record<string, unknown> = TINY,
): Promise<string> {
  const config = { ...JSON.parse(readFileSync(`${BASE}config.json`, 'utf8')), ...changes };
  const { weights } = createModel(config, 'language-modelling', 1);
  await writeCheckpoint(folder, config, lazyTensors(Object.fromEntries(weights)), { copyFrom: BASE });
  return folder;
}
