import { type Classes, classesIn, openImageDataset } from '../data/index.ts';
import { resolveDataset } from '../formats/index.ts';
import { architectureOf, type Model } from '../models/index.ts';
import { modelConfig } from './base-model.ts';
import type { Recipe } from './recipe.ts';

/** Names of a model's classes where config.json has them, else their number. */
export function classesOf({ config, architecture }: Pick<Model, 'config' | 'architecture'>): Classes {
  const { id2label } = config as { id2label?: Record<string, string> };
  if (!id2label) return architecture.layers.at(-1)!.out;
  return Object.keys(id2label)
    .sort((a, b) => Number(a) - Number(b))
    .map((k) => id2label[k]);
}

/**
 * The recipe with the classes that its images name, where it names none itself and the model knows others: the folders of
 * a folder of images say what there is to tell apart.
 *
 * @throws RankineError those of `openImageDataset` and `classesIn`
 */
export async function withClassesOfImages(recipe: Recipe): Promise<Recipe> {
  const { model, data } = recipe;
  if (model.labels !== undefined) return recipe;
  const config = await modelConfig(model);
  const architecture = architectureOf(config, model.task);
  if (!architecture.image) return recipe;
  const found = await classesIn(await openImageDataset(data.train, (id) => resolveDataset(id)));
  const known = classesOf({ config, architecture });
  if (covers(known, found)) return recipe;
  return { ...recipe, model: { ...model, labels: typeof found === 'number' ? found : [...found] } };
}

function covers(known: Classes, found: Classes): boolean {
  if (typeof found === 'number') return found <= (typeof known === 'number' ? known : known.length);
  return typeof known !== 'number' && found.every((name) => known.includes(name));
}
