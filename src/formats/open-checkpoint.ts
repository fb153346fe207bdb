import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { RankineError } from '../errors.ts';
import { exists } from './atomic.ts';
import { type Checkpoint, checkpointOf } from './checkpoint.ts';
import { fileSource } from './file-source.ts';
import { readJsonObject } from './json-file.ts';
import { openSafetensors } from './safetensors.ts';
import type { TensorFile } from './tensor-file.ts';
import { openTorchPickle } from './torch-pickle.ts';

/**
 * Opens a Hugging Face model folder: `config.json` and the weights of `model.safetensors`, its sharded form
 * (`model.safetensors.index.json`), `pytorch_model.bin` or its sharded form, in this order.
 *
 * @throws RankineError `formats/missing-folder`, `formats/missing-file`, `formats/broken-json`, `formats/no-weights`,
 *   `formats/half-written`, `formats/broken-index`, and those of the file formats
 */
export async function openCheckpoint(folder: string): Promise<Checkpoint> {
  await checkFolder(folder);
  const config = await readJsonObject(join(folder, 'config.json'));
  return checkpointOf(folder, config, await openWeights(folder));
}

async function checkFolder(folder: string): Promise<void> {
  if (!(await exists(folder)))
    throw new RankineError(
      'formats/missing-folder',
      `There is no folder ${folder}.`,
      'Check the path, or give a Hugging Face id such as owner/name.',
    );
}

const WEIGHTS = ['model.safetensors', 'pytorch_model.bin'];

async function openWeights(folder: string): Promise<TensorFile[]> {
  for (const name of WEIGHTS) {
    const path = join(folder, name);
    if (await exists(path)) return [await openTensorFile(path)];
    if (await exists(`${path}.index.json`)) return openShards(folder, `${name}.index.json`);
  }
  throw await noWeights(folder);
}

/** Opens a `.safetensors` file, or one written by `torch.save` where the name ends otherwise. The file closes if that fails. */
export async function openTensorFile(path: string): Promise<TensorFile> {
  const source = await fileSource(path);
  try {
    return await (path.endsWith('.safetensors') ? openSafetensors(source) : openTorchPickle(source));
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function openShards(folder: string, indexName: string): Promise<TensorFile[]> {
  const index = join(folder, indexName);
  const weightMap = (await readJsonObject(index)).weight_map as Record<string, string>;
  checkWeightMap(index, weightMap);
  const files: TensorFile[] = [];
  try {
    for (const shard of new Set(Object.values(weightMap))) files.push(await openShard(folder, index, shard));
    checkComplete(index, weightMap, files);
    return files;
  } catch (error) {
    for (const file of files) await file.close();
    throw error;
  }
}

async function openShard(folder: string, index: string, shard: string): Promise<TensorFile> {
  const path = join(folder, shard);
  if (await exists(path)) return openTensorFile(path);
  throw halfWritten(folder, `${index} names the file ${shard}, which is missing`);
}

function checkWeightMap(index: string, weightMap: unknown): void {
  const isMap = typeof weightMap === 'object' && weightMap !== null && !Array.isArray(weightMap);
  // Shards lie beside the index: a name with a separator would reach outside the folder.
  const proper = (file: unknown) => typeof file === 'string' && /^[^/\\]+$/.test(file) && file !== '..';
  if (isMap && Object.values(weightMap).every(proper)) return;
  throw new RankineError(
    'formats/broken-index',
    `${index} has no proper weight_map from tensor names to file names beside it.`,
    'Download it again.',
  );
}

function checkComplete(index: string, weightMap: Record<string, string>, files: TensorFile[]): void {
  const held = new Set(files.flatMap((file) => [...file.tensors.keys()]));
  const missing = Object.keys(weightMap).find((name) => !held.has(name));
  if (missing === undefined) return;
  throw new RankineError(
    'formats/broken-index',
    `${index} says that ${weightMap[missing]} holds the tensor ${missing}, but it does not.`,
    'The index and the files come from different versions; download them together.',
  );
}

async function noWeights(folder: string): Promise<RankineError> {
  const leftover = (await readdir(folder)).find((name) => /\.(safetensors|bin)/.test(name));
  if (leftover)
    return halfWritten(folder, `it holds ${leftover}, but neither ${WEIGHTS.join(' nor ')} nor their index`);
  return new RankineError(
    'formats/no-weights',
    `The folder ${folder} holds no weights: neither ${WEIGHTS.join(' nor ')} nor their index.`,
    'Give a folder in Hugging Face form; weights in other forms (gguf, onnx) are not read.',
  );
}

function halfWritten(folder: string, fact: string): RankineError {
  return new RankineError(
    'formats/half-written',
    `The model folder ${folder} is incomplete: ${fact}.`,
    'Download or save the model again.',
  );
}
