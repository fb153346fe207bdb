import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RankineError } from '../errors.ts';
import {
  CONFIG_ONLY,
  exists,
  type FileChoice,
  readJsonObject,
  resolveModel,
  WITHOUT_WEIGHTS,
} from '../formats/index.ts';
import { createModel, loadModel, type Model, type ModelConfig, withLabels } from '../models/index.ts';
import type { Recipe } from './recipe.ts';

type ModelSpec = Recipe['model'];

/** Shapes without weights that come with the package, a folder each. */
const SHAPES = new URL('../../configs/', import.meta.url);

/**
 * The base model of a recipe. Its folder is the tokenizer's where the recipe names one.
 *
 * @throws RankineError `training/no-weights` where a shape that comes with the package is to be loaded as if it were
 *   trained; those of `resolveModel`, `loadModel` and `createModel`
 */
export async function openModel(spec: ModelSpec, seed: number): Promise<Model> {
  const folder = await tokenizerFolder(spec);
  if (spec.init === 'random') return { ...createModel(await modelConfig(spec), spec.task, seed), folder };
  const model = await loadModel(await modelFolder(spec), { task: spec.task, labels: spec.labels, seed });
  return spec.tokenizer === undefined ? model : { ...model, folder };
}

/** Folder of the tokenizer that goes with a recipe's model; of a hub model, the weights are not fetched for it. */
export async function tokenizerFolder(spec: ModelSpec): Promise<string> {
  return spec.tokenizer === undefined
    ? modelFolder(spec, WITHOUT_WEIGHTS)
    : resolveModel(spec.tokenizer, { files: WITHOUT_WEIGHTS });
}

/** `config.json` of a recipe's model, with the recipe's labels; of a hub model nothing else is fetched. */
export async function modelConfig(spec: ModelSpec): Promise<ModelConfig> {
  const config = await readJsonObject(join(await modelFolder(spec, CONFIG_ONLY), 'config.json'));
  return spec.labels === undefined ? config : withLabels(config, spec.labels);
}

/** A folder or hub id as `resolveModel` finds it, or the name of a shape that comes with the package. */
async function modelFolder({ path, init }: ModelSpec, files?: FileChoice): Promise<string> {
  const shipped = await shippedShape(path);
  if (shipped === undefined || (await exists(path))) return resolveModel(path, { files });
  if (init === 'random') return shipped;
  throw new RankineError(
    'training/no-weights',
    `${path} is a shape that comes with the package: it has no weights.`,
    'Draw them anew with model: {path: …, init: random}, or --set model.init=random.',
  );
}

async function shippedShape(name: string): Promise<string | undefined> {
  if (!/^[a-z0-9-]+$/.test(name)) return undefined;
  const folder = fileURLToPath(new URL(`${name}/`, SHAPES));
  return (await exists(folder)) ? folder : undefined;
}
