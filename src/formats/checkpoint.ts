import { RankineError } from '../errors.ts';
import type { NDArray, Shape } from '../graph/array.ts';
import { type FileDType, isFloating, toFloat32 } from './file-dtype.ts';
import type { JsonObject } from './json-keys.ts';
import { missingTensor } from './nearest.ts';
import { type LazyTensor, writtenDType } from './safetensors-write.ts';
import type { TensorFile, TensorInfo } from './tensor-file.ts';

/** A model in a folder: its configuration and its named tensors, read one at a time. */
export interface Checkpoint {
  readonly folder: string;
  /** `config.json`, as it stands. */
  readonly config: JsonObject;
  names(): string[];
  has(name: string): boolean;
  /** @throws RankineError `formats/missing-tensor`, naming the nearest names */
  shape(name: string): Shape;
  /** The type in the file. @throws RankineError `formats/missing-tensor` */
  dtype(name: string): FileDType;
  /** Reads one tensor; every floating type becomes float32, integers keep theirs. @throws RankineError `formats/missing-tensor` */
  read(name: string): Promise<NDArray>;
  /** Checks a shape before anything is read. @throws RankineError `formats/tensor-shape`, `formats/missing-tensor` */
  expect(name: string, shape: Shape): void;
  close(): Promise<void>;
}

/** A checkpoint over files already open; later files win where two hold the same name. */
export function checkpointOf(folder: string, config: JsonObject, files: readonly TensorFile[]): Checkpoint {
  const home = new Map<string, TensorFile>();
  for (const file of files) for (const name of file.tensors.keys()) home.set(name, file);
  const fileOf = (name: string): TensorFile => {
    const file = home.get(name);
    if (!file) throw missingTensor(files.length === 1 ? files[0].file : folder, name, home.keys());
    return file;
  };
  const info = (name: string): TensorInfo => fileOf(name).tensors.get(name)!;
  return {
    folder,
    config,
    names: () => [...home.keys()],
    has: (name) => home.has(name),
    shape: (name) => info(name).shape,
    dtype: (name) => info(name).dtype,
    read: async (name) => {
      const array = await fileOf(name).read(name);
      return isFloating(info(name).dtype) ? toFloat32(array) : array;
    },
    expect: (name, shape) => checkShape(fileOf(name).file, info(name), shape),
    close: async () => {
      for (const file of files) await file.close();
    },
  };
}

function checkShape(file: string, info: TensorInfo, expected: Shape): void {
  const same = info.shape.length === expected.length && info.shape.every((d, i) => d === expected[i]);
  if (!same)
    throw new RankineError(
      'formats/tensor-shape',
      `In ${file}, the tensor ${info.name} has the shape [${info.shape}], but config.json asks for [${expected}].`,
      'The configuration and the weights belong to different models; use the pair that was published together.',
    );
}

/** A model converted from another format: Hugging Face configuration and names, values made when read. */
export interface ConvertedModel {
  readonly config: JsonObject;
  readonly tensors: readonly LazyTensor[];
}

/** Lets a converted model be used as a checkpoint without a folder; `name` stands for the file in messages. */
export function checkpointFrom(name: string, { config, tensors }: ConvertedModel): Checkpoint {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const infos = tensors.map(
    (t) => [t.name, { name: t.name, shape: t.shape, dtype: writtenDType(t) }] as const,
  );
  const file: TensorFile = {
    file: name,
    tensors: new Map(infos),
    metadata: {},
    read: async (tensor) => byName.get(tensor)!.read(),
    close: async () => {},
  };
  return checkpointOf(name, config, [file]);
}
