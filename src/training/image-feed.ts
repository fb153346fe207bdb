import {
  checkImages,
  type Dataset,
  emptyReport,
  type ImageBatch,
  imageBatches,
  imageExamples,
  loadPreprocessor,
} from '../data/index.ts';
import { RankineError } from '../errors.ts';
import type { ImageSpec } from '../models/architecture.ts';
import type { Model } from '../models/model.ts';
import { imageShape } from './batch-feeds.ts';
import { classesOf } from './classes.ts';
import type { Recipe } from './recipe.ts';
import type { Feed } from './sources.ts';

/** What is learned, and what is held out. */
export interface DataParts {
  readonly train: Dataset;
  readonly held?: Dataset;
}

interface Parts {
  readonly recipe: Recipe;
  readonly model: Model;
  readonly image: ImageSpec;
  readonly signal?: AbortSignal;
}

/**
 * Batches of labelled images, each decoded as its batch is made. Labels and files are looked at beforehand, so that a row
 * at the end does not stop a run in its middle; with `data.stream` they are not.
 *
 * @throws RankineError those of `loadPreprocessor` and `checkImages`; `recipe/invalid` for options of texts
 */
export async function imageFeed(parts: Parts, { train, held }: DataParts): Promise<Feed> {
  const { recipe, model, image } = parts;
  refuseTextOptions(recipe);
  const how = await loadPreprocessor(model.folder, image);
  const classes = classesOf(model);
  const open = async (dataset: Dataset) => {
    if (!recipe.data.stream) await checkImages(dataset, classes, parts.signal);
    return imageExamples(dataset, classes, how);
  };
  const trainSource = await open(train);
  const heldSource = held && (await open(held));
  const common = { batchSize: recipe.batch, seed: recipe.seed };
  return {
    report: emptyReport(),
    train: (from) => imageBatches(trainSource, { ...common, from, epochs: Number.POSITIVE_INFINITY }),
    validation: heldSource && (() => imageBatches(heldSource, { ...common, shuffle: false })),
    shapeOf: (batch) => shapeOf(batch as ImageBatch, image),
    largest: imageShape(recipe.batch, image),
    updatesPerEpoch: async () => Math.ceil(trainSource.length / recipe.batch) / recipe.accumulate,
  };
}

/** @throws RankineError `training/image-size` where the preprocessor makes other images than the model takes */
function shapeOf({ shape: [rows, channels, height, width] }: ImageBatch, image: ImageSpec) {
  if (channels === image.channels && height === image.height && width === image.width)
    return imageShape(rows, image);
  throw new RankineError(
    'training/image-size',
    `The images come as ${channels} × ${height} × ${width}, but the model takes ${image.channels} × ${image.height} × ${image.width}.`,
    "Set size or crop_size in the model's preprocessor_config.json.",
  );
}

function refuseTextOptions({ data }: Recipe): void {
  const { maxLength, truncation, lossOn, template, packing } = data;
  const texts = {
    maxLength,
    truncation,
    lossOn,
    template,
    packing: packing === 'none' ? undefined : packing,
  };
  for (const [name, value] of Object.entries(texts))
    if (value !== undefined)
      throw new RankineError(
        'recipe/invalid',
        `data.${name} is ${JSON.stringify(value)}, but the model reads images.`,
        'Leave it out.',
      );
}
