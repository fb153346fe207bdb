import { copyFile, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { publishFolder, writeAtomic } from './atomic.ts';
import type { JsonObject } from './json-keys.ts';
import { type LazyTensor, type SafetensorsOptions, writtenBytes } from './safetensors-write.ts';
import { writeSafetensors } from './write-safetensors.ts';

export interface WriteCheckpointOptions {
  /** Floating tensors are narrowed to this type. Default F32. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
  /** Largest size of one weight file in bytes; a single larger tensor stands alone. Default 5 GB, as transformers. */
  readonly maxShardBytes?: number;
  /** Model folder whose tokenizer, generation and preprocessor files are copied. */
  readonly copyFrom?: string;
  /** Further files by name, such as a tokenizer.json; they win over those of `copyFrom`. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Replace a folder that exists already; without it that is an error. */
  readonly replace?: boolean;
}

const TORCH_DTYPE = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;

/**
 * Writes a Hugging Face model folder that transformers loads: `config.json` (with the type of the weights),
 * `model.safetensors` or shards with their index, and the companions of `copyFrom`. The folder appears at once,
 * complete, or not at all. Tensors are read when they are written, so only one is in memory.
 *
 * @throws RankineError `formats/folder-exists`, `formats/disk-full`, `formats/cannot-write`, `formats/duplicate-tensor`
 */
export async function writeCheckpoint(
  folder: string,
  config: JsonObject,
  tensors: Iterable<LazyTensor> | AsyncIterable<LazyTensor>,
  options: WriteCheckpointOptions = {},
): Promise<void> {
  const { dtype = 'F32', maxShardBytes = 5e9, copyFrom, files = {}, replace } = options;
  await publishFolder(
    folder,
    async (temporary) => {
      if (copyFrom !== undefined) await copyCompanions(copyFrom, temporary);
      for (const [name, content] of Object.entries(files)) await writeAtomic(join(temporary, name), content);
      const announced: LazyTensor[] = [];
      for await (const tensor of tensors) announced.push(tensor);
      await writeShards(temporary, announced, maxShardBytes, { dtype });
      await writeJson(join(temporary, 'config.json'), withDType(config, TORCH_DTYPE[dtype]));
    },
    { replace },
  );
}

// transformers 4 reads `torch_dtype`, transformers 5 `dtype`; whichever the config has is kept, so both stay right.
function withDType(config: JsonObject, dtype: string): JsonObject {
  return 'dtype' in config ? { ...config, dtype } : { ...config, torch_dtype: dtype };
}

async function writeShards(
  folder: string,
  tensors: LazyTensor[],
  maxBytes: number,
  options: SafetensorsOptions,
): Promise<void> {
  const shards = splitShards(tensors, maxBytes, options);
  if (shards.length === 1) return writeSafetensors(join(folder, 'model.safetensors'), shards[0], options);
  const weightMap: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const name = `model-${pad(i + 1)}-of-${pad(shards.length)}.safetensors`;
    for (const tensor of shard) weightMap[tensor.name] = name;
    await writeSafetensors(join(folder, name), shard, options);
  }
  const totalSize = tensors.reduce((sum, tensor) => sum + writtenBytes(tensor, options), 0);
  const index = { metadata: { total_size: totalSize }, weight_map: weightMap };
  await writeJson(join(folder, 'model.safetensors.index.json'), index);
}

function splitShards(tensors: LazyTensor[], maxBytes: number, options: SafetensorsOptions): LazyTensor[][] {
  const shards: LazyTensor[][] = [[]];
  let room = maxBytes;
  for (const tensor of tensors) {
    const bytes = writtenBytes(tensor, options);
    if (bytes > room && shards.at(-1)!.length > 0) {
      shards.push([]);
      room = maxBytes;
    }
    shards.at(-1)!.push(tensor);
    room -= bytes;
  }
  return shards;
}

function pad(n: number): string {
  return String(n).padStart(5, '0');
}

// Everything small that stands beside the weights, but neither weights nor what describes them.
const COMPANION = /\.(json|txt|model|jinja|md|tiktoken)$|^(LICENSE|NOTICE|USE_POLICY)/i;
const NOT_COPIED = /^(config\.json|adapter_config\.json|README\.md)$|\.index\.json$/;

/** Copies tokenizer, chat template, generation and preprocessor files from one model folder to another. */
export async function copyCompanions(from: string, to: string): Promise<string[]> {
  const names = (await readdir(from)).filter((name) => COMPANION.test(name) && !NOT_COPIED.test(name));
  // A hub snapshot holds links: the copy must hold the content.
  for (const name of names) await copyFile(await realpath(join(from, name)), join(to, name));
  return names;
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
}
