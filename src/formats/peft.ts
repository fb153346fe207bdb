import { join } from 'node:path';
import { RankineError } from '../errors.ts';
import type { NDArray } from '../graph/array.ts';
import { exists, publishFolder, writeAtomic } from './atomic.ts';
import { readJsonObject } from './json-file.ts';
import { openTensorFile } from './open-checkpoint.ts';
import { type PeftConfig, parsePeftConfig } from './peft-config.ts';
import { lazyTensors } from './safetensors-write.ts';
import { writeSafetensors } from './write-safetensors.ts';

/** A PEFT adapter of any type: its configuration and its tensors by their names on disk (`peft-names.ts` builds them). */
export interface PeftAdapter {
  readonly config: PeftConfig;
  readonly tensors: Readonly<Record<string, NDArray>>;
  /** Names of the classes of a head among the tensors; PEFT knows no place for them, so the weights' metadata hold them. */
  readonly labels?: readonly string[];
}

const CONFIG = 'adapter_config.json';
/** Key of the metadata of the weights. */
const LABELS = 'labels';
const WEIGHTS = ['adapter_model.safetensors', 'adapter_model.bin'];

/**
 * Reads an adapter folder: `adapter_config.json` and `adapter_model.safetensors`, or the older `adapter_model.bin`.
 *
 * @throws RankineError `formats/not-an-adapter`, `formats/adapter-config`, `formats/broken-json`, `formats/half-written`
 *   and those of the file formats
 */
export async function readPeftAdapter(folder: string): Promise<PeftAdapter> {
  const configPath = join(folder, CONFIG);
  if (!(await exists(configPath))) throw notAnAdapter(folder);
  const config = parsePeftConfig(configPath, await readJsonObject(configPath));
  const file = await openTensorFile(await weightsPath(folder));
  try {
    const entries: [string, NDArray][] = [];
    for (const name of file.tensors.keys()) entries.push([name, await file.read(name)]);
    return { config, tensors: Object.fromEntries(entries), labels: labelsIn(file.metadata) };
  } finally {
    await file.close();
  }
}

/** True when the folder holds an adapter's configuration. */
export async function isPeftAdapter(folder: string): Promise<boolean> {
  return exists(join(folder, CONFIG));
}

/**
 * Writes an adapter folder as PEFT does: configuration with sorted keys, then the tensors. It appears complete or not at all.
 *
 * @throws RankineError `formats/folder-exists` unless `replace`, `formats/disk-full`, `formats/cannot-write`
 */
export async function writePeftAdapter(
  folder: string,
  adapter: PeftAdapter,
  options: { replace?: boolean } = {},
): Promise<void> {
  await publishFolder(
    folder,
    async (temporary) => {
      await writeAtomic(join(temporary, CONFIG), JSON.stringify(sortedByKey(adapter.config), null, 2));
      const metadata = adapter.labels && { [LABELS]: JSON.stringify(adapter.labels) };
      await writeSafetensors(join(temporary, WEIGHTS[0]), lazyTensors(adapter.tensors), { metadata });
    },
    options,
  );
}

/** Other programs may use the key in their own way. */
function labelsIn({ [LABELS]: text }: Readonly<Record<string, string>>): readonly string[] | undefined {
  if (text === undefined) return undefined;
  try {
    const labels: unknown = JSON.parse(text);
    return Array.isArray(labels) && labels.every((l) => typeof l === 'string') ? labels : undefined;
  } catch {
    return undefined;
  }
}

function sortedByKey(config: PeftConfig): Record<string, unknown> {
  return Object.fromEntries(Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function weightsPath(folder: string): Promise<string> {
  for (const name of WEIGHTS) {
    const path = join(folder, name);
    if (await exists(path)) return path;
  }
  throw new RankineError(
    'formats/half-written',
    `The adapter folder ${folder} has its ${CONFIG} but neither ${WEIGHTS.join(' nor ')}.`,
    'Save or download the adapter again.',
  );
}

function notAnAdapter(folder: string): RankineError {
  return new RankineError(
    'formats/not-an-adapter',
    `The folder ${folder} holds no ${CONFIG}, so it is no PEFT adapter.`,
    'Give the folder that training or PEFT wrote.',
  );
}
