import {
  batches,
  type Dataset,
  detectShape,
  type ExampleReport,
  type ExampleSource,
  emptyReport,
  inMemory,
  type LabelledExample,
  labelledBatches,
  labelledExamples,
  labelledSample,
  languageExamples,
  languageSample,
  loadTokenizer,
  onDemand,
  openDataset,
  openImageDataset,
  type Position,
  type Row,
  START,
  split,
  type TokenExample,
  type Tokenizer,
} from '../data/index.ts';
import { RankineError } from '../errors.ts';
import { resolveDataset } from '../formats/index.ts';
import type { Model } from '../models/model.ts';
import { type AnyBatch, type BatchKind, type BatchShape, batchShape, imageShape } from './batch-feeds.ts';
import { classesOf } from './classes.ts';
import { type DataParts, imageFeed } from './image-feed.ts';
import type { Recipe } from './recipe.ts';

/** Longest rows unless the recipe says otherwise. */
const DEFAULT_LENGTH = 1024;

/** Batches of a run, from any position on. */
export interface Feed {
  readonly report: ExampleReport;
  /** Endless, in shuffled order, from a position. */
  train(from: Position): AsyncGenerator<AnyBatch>;
  /** Once, in file order; undefined where the recipe has no validation data. */
  validation?(): AsyncGenerator<AnyBatch>;
  shapeOf(batch: AnyBatch): BatchShape;
  /** The largest shape of a batch. */
  readonly largest: BatchShape;
  /** Updates in one epoch; throws `training/unknown-epochs` for streams. */
  updatesPerEpoch(): Promise<number>;
}

/** Opens a recipe's data for a model. */
export async function openFeed(recipe: Recipe, model: Model, signal?: AbortSignal): Promise<Feed> {
  const { image } = model.architecture;
  if (image) return imageFeed({ recipe, model, image, signal }, await openParts(recipe, openImageDataset));
  const tokenizer = await tokenizerOf(model);
  const { train, held } = await openParts(recipe, openDataset);
  const kind = model.architecture.task === 'language-modelling' ? languageFeed : labelledFeed;
  return kind({ recipe, model, tokenizer, report: emptyReport(), signal }, train, held);
}

async function openParts({ data, seed }: Recipe, open: typeof openDataset): Promise<DataParts> {
  const resolver = (id: string) => resolveDataset(id);
  const train = await open(data.train, resolver);
  if (data.validation) return { train, held: await open(data.validation, resolver) };
  if (data.holdOut === undefined) return { train };
  return split(train, {
    ...(data.holdOut < 1 ? { fraction: data.holdOut } : { count: data.holdOut }),
    seed,
  });
}

/**
 * The largest batch of a recipe's data. The data are read only where the length of the rows depends on them: images are
 * as large as the model takes them, packed and streamed rows as long as they may be.
 */
export async function largestBatch(recipe: Recipe, model: Model): Promise<BatchShape> {
  const { data, batch } = recipe;
  const { image } = model.architecture;
  if (image) return imageShape(batch, image);
  const packed = data.packing !== 'none';
  if (!packed && !data.stream) return (await openFeed(recipe, model)).largest;
  return batchShape([batch, maxLength({ recipe, model })], batchKind(recipe, model));
}

function batchKind({ data }: Recipe, model: Model): BatchKind {
  const labelled = model.architecture.task !== 'language-modelling';
  return {
    labelled,
    causal: isCausal(model),
    packed: !labelled && data.packing !== 'none',
    pairs: labelled && model.architecture.type === 'bert',
  };
}

/** @throws RankineError `training/no-tokenizer`, `training/vocabulary`; those of `loadTokenizer` */
async function tokenizerOf({ folder, architecture }: Model): Promise<Tokenizer> {
  if (!folder) throw new RankineError('training/no-tokenizer', 'The model has no folder with a tokenizer.');
  const tokenizer = await loadTokenizer(folder);
  const { vocabulary = tokenizer.size } = architecture;
  if (tokenizer.size <= vocabulary) return tokenizer;
  throw new RankineError(
    'training/vocabulary',
    `The tokenizer in ${folder} has ${tokenizer.size} tokens, but the model only ${vocabulary}.`,
    'Name the tokenizer that belongs to the model: model.tokenizer.',
  );
}

interface Parts {
  recipe: Recipe;
  model: Model;
  tokenizer: Tokenizer;
  report: ExampleReport;
  signal?: AbortSignal;
}

function maxLength({ recipe, model }: Pick<Parts, 'recipe' | 'model'>): number {
  const limit = model.architecture.maxLength;
  const asked = recipe.data.maxLength;
  if (asked !== undefined && limit !== undefined && asked > limit)
    throw new RankineError(
      'training/too-long',
      `data.maxLength is ${asked}, but ${model.architecture.type} takes ${limit} tokens at most.`,
      `Set it to ${limit} or less.`,
    );
  return asked ?? Math.min(limit ?? DEFAULT_LENGTH, DEFAULT_LENGTH);
}

async function source<E>(
  parts: Parts,
  dataset: Dataset,
  make: (row: Row) => readonly E[],
): Promise<ExampleSource<E>> {
  return parts.recipe.data.stream ? onDemand(dataset, make) : inMemory(dataset, make, parts.signal);
}

/** Rows rounded up, so that small differences in length do not change a program's shape. */
function rowLengths(parts: Parts, longest: number | undefined): number {
  const limit = maxLength(parts);
  return Math.min(limit, Math.ceil((longest ?? limit) / 8) * 8);
}

/** Longest example of all sources; undefined where one is read on demand. */
function longest<E>(train: ExampleSource<E>, held?: ExampleSource<E>): number | undefined {
  if (train.longest === undefined || (held && held.longest === undefined)) return undefined;
  return Math.max(train.longest, held?.longest ?? 0);
}

async function languageFeed(parts: Parts, train: Dataset, held?: Dataset): Promise<Feed> {
  const { recipe, tokenizer, report } = parts;
  const { data } = recipe;
  const toExamples = languageExamples(tokenizer, {
    maxLength: maxLength(parts),
    truncation: data.truncation,
    lossOn: data.lossOn,
    template: data.template,
  });
  const open = (dataset: Dataset, count: ExampleReport) =>
    source<TokenExample>(parts, dataset, (row) => toExamples(languageSample(row, detectShape(row)), count));
  const trainSource = await open(train, report);
  const heldSource = held && (await open(held, emptyReport()));
  const packed = data.packing !== 'none';
  const lengths = packed ? maxLength(parts) : rowLengths(parts, longest(trainSource, heldSource));
  const common = {
    batchSize: recipe.batch,
    lengths,
    packing: data.packing,
    padId: tokenizer.special.pad,
    seed: recipe.seed,
  };
  return feed(
    parts,
    (from, epochs) => batches(trainSource, { ...common, from, epochs }),
    heldSource && (() => batches(heldSource, { ...common, shuffle: false })),
    [recipe.batch, lengths],
  );
}

async function labelledFeed(parts: Parts, train: Dataset, held?: Dataset): Promise<Feed> {
  const { recipe, tokenizer, report, model } = parts;
  const toExamples = labelledExamples(tokenizer, {
    maxLength: maxLength(parts),
    truncation: labelTruncation(recipe),
  });
  const classes = classesOf(model);
  const open = (dataset: Dataset, count: ExampleReport) =>
    source<LabelledExample>(parts, dataset, (row) =>
      toExamples(labelledSample(row, detectShape(row), classes), count),
    );
  const trainSource = await open(train, report);
  const heldSource = held && (await open(held, emptyReport()));
  const common = {
    batchSize: recipe.batch,
    lengths: rowLengths(parts, longest(trainSource, heldSource)),
    padId: tokenizer.special.pad,
    seed: recipe.seed,
  };
  return feed(
    parts,
    (from, epochs) => labelledBatches(trainSource, { ...common, from, epochs }),
    heldSource && (() => labelledBatches(heldSource, { ...common, shuffle: false })),
    [recipe.batch, common.lengths],
  );
}

function labelTruncation(recipe: Recipe): 'keep-start' | 'drop' | 'error' {
  const { truncation = 'keep-start' } = recipe.data;
  if (truncation === 'keep-end' || truncation === 'split')
    throw new RankineError(
      'recipe/invalid',
      `data.truncation "${truncation}" does not fit labelled texts.`,
      'Use keep-start, drop or error.',
    );
  return truncation;
}

function isCausal(model: Model): boolean {
  return model.architecture.cache !== undefined;
}

function feed(
  { recipe, model, report }: Parts,
  train: (from: Position, epochs: number) => AsyncGenerator<AnyBatch>,
  validation: (() => AsyncGenerator<AnyBatch>) | undefined,
  size: readonly [number, number],
): Feed {
  const kind = batchKind(recipe, model);
  return {
    report,
    train: (from) => train(from, Number.POSITIVE_INFINITY),
    validation,
    shapeOf: (batch) => batchShape(batch.shape as readonly [number, number], kind),
    largest: batchShape(size, kind),
    async updatesPerEpoch() {
      if (recipe.data.stream)
        throw new RankineError(
          'training/unknown-epochs',
          'A stream has no known length.',
          'Set steps instead of epochs.',
        );
      let count = 0;
      for await (const _ of train(START, 1)) count++;
      return count / recipe.accumulate;
    },
  };
}
