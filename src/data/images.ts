import { join } from 'node:path';
import { RankineError } from '../errors.ts';
import { exists, readJsonObject } from '../formats/index.ts';
import { CountBin, fillBins, type LastBatch } from './bins.ts';
import { IGNORED } from './examples.ts';
import type { Image } from './image-decode.ts';
import { centerCrop, type Filter, resize } from './image-resize.ts';
import type { OrderOptions, Position } from './order.ts';
import type { ExampleSource } from './sources.ts';

/** How a model wants its images, as `preprocessor_config.json` says. */
export interface Preprocessor {
  /** Exactly this size, or `shortest`: the shorter side, the other in proportion; absent: not resized. */
  readonly resize?: { readonly height: number; readonly width: number } | { readonly shortest: number };
  readonly filter: Filter;
  /** Cut from the middle after resizing. */
  readonly crop?: { readonly height: number; readonly width: number };
  /** Multiplies the bytes, 1/255 as a rule. */
  readonly rescale: number;
  /** Subtracted and divided by after rescaling, per channel; one value stands for all. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/**
 * Reads the fields of `preprocessor_config.json` that transformers' image processors share.
 * @throws RankineError `data/preprocessor` for a size or a filter that is unknown
 */
export function readPreprocessor(config: Record<string, unknown>): Preprocessor {
  const normalize = config.do_normalize !== false;
  return {
    resize: config.do_resize === false ? undefined : targetSize(config.size ?? 224),
    filter: filterOf(config.resample ?? 2),
    crop: config.do_center_crop === true ? exactSize(config.crop_size ?? 224) : undefined,
    rescale: config.do_rescale === false ? 1 : Number(config.rescale_factor ?? 1 / 255),
    mean: normalize ? ((config.image_mean as number[]) ?? [0.5]) : [0],
    std: normalize ? ((config.image_std as number[]) ?? [0.5]) : [1],
  };
}

/**
 * How the model of a folder wants its images: as its `preprocessor_config.json` says; where it has none, resized to
 * `size` and scaled to −1 … 1, which is transformers' default for Vision Transformers.
 * @throws RankineError `data/preprocessor`, `formats/broken-json`
 */
export async function loadPreprocessor(
  folder: string | undefined,
  size: { readonly height: number; readonly width: number },
): Promise<Preprocessor> {
  const file = folder && join(folder, 'preprocessor_config.json');
  return readPreprocessor(file && (await exists(file)) ? await readJsonObject(file) : { size });
}

function targetSize(size: unknown): Preprocessor['resize'] {
  const shortest = (size as { shortest_edge?: number }).shortest_edge;
  return shortest === undefined ? exactSize(size) : { shortest };
}

function exactSize(size: unknown): { height: number; width: number } {
  if (typeof size === 'number') return { height: size, width: size };
  const { height, width } = size as { height?: number; width?: number };
  if (typeof height === 'number' && typeof width === 'number') return { height, width };
  throw unknown('size', size);
}

function filterOf(resample: unknown): Filter {
  if (resample === 2) return 'bilinear';
  if (resample === 3) return 'bicubic';
  throw unknown('resample', resample);
}

function unknown(field: string, value: unknown): RankineError {
  return new RankineError(
    'data/preprocessor',
    `preprocessor_config.json: ${field} is ${JSON.stringify(value)}, which is not understood.`,
    'Known are size as a number, {height, width} or {shortest_edge}, and resample 2 (bilinear) or 3 (bicubic).',
  );
}

/** Resizes, crops and normalizes to float32 [3, H, W] (planes R, G, B); grey is repeated. */
export function preprocess(image: Image, how: Preprocessor): ImagePixels {
  const sized = how.resize ? resizeTo(image, how.resize, how.filter) : image;
  const { height, width, channels, data } = how.crop ? cropTo(sized, how.crop) : sized;
  const plane = height * width;
  const pixels = new Float32Array(3 * plane);
  for (let c = 0; c < 3; c++) {
    const mean = how.mean[c] ?? how.mean[0];
    const std = how.std[c] ?? how.std[0];
    const channel = channels === 3 ? c : 0;
    for (let p = 0; p < plane; p++)
      pixels[c * plane + p] = (data[p * channels + channel] * how.rescale - mean) / std;
  }
  return { height, width, pixels };
}

function resizeTo(image: Image, to: NonNullable<Preprocessor['resize']>, filter: Filter): Image {
  if ('height' in to) return resize(image, to.height, to.width, filter);
  const { height, width } = image;
  // torchvision and transformers cut the longer side to a whole number.
  const longer = Math.trunc((to.shortest * Math.max(height, width)) / Math.min(height, width));
  return height <= width
    ? resize(image, to.shortest, longer, filter)
    : resize(image, longer, to.shortest, filter);
}

function cropTo(image: Image, { height, width }: { height: number; width: number }): Image {
  if (image.height < height || image.width < width)
    throw new RankineError(
      'data/image-size',
      `An image of ${image.height} × ${image.width} is smaller than the crop of ${height} × ${width}.`,
      'Resize to a larger size first.',
    );
  return centerCrop(image, height, width);
}

/** float32 [3, height, width]. */
export interface ImagePixels {
  readonly height: number;
  readonly width: number;
  readonly pixels: Float32Array;
}

export interface ImageExample extends ImagePixels {
  readonly label: number;
}

/** `pixels` [B, 3, H, W] and `labels` [B]; rows that fill a short batch are black with the label −100. */
export interface ImageBatch {
  readonly shape: readonly [rows: number, channels: 3, height: number, width: number];
  readonly pixels: Float32Array;
  readonly labels: Int32Array;
  readonly epoch: number;
  readonly next: Position;
}

/**
 * Batches of images, in the order of `batches`.
 * @throws RankineError `data/image-size` where images of one batch differ in size
 */
export async function* imageBatches(
  source: ExampleSource<ImageExample>,
  options: OrderOptions & { readonly batchSize: number; readonly last?: LastBatch },
): AsyncGenerator<ImageBatch> {
  const { batchSize, last = 'pad' } = options;
  for await (const { bin, epoch, next } of fillBins(
    source,
    options,
    last,
    () => new CountBin<ImageExample>(batchSize),
  )) {
    const { height, width } = bin.examples[0];
    const size = 3 * height * width;
    const pixels = new Float32Array(batchSize * size);
    const labels = new Int32Array(batchSize).fill(IGNORED);
    bin.examples.forEach((example, b) => {
      if (example.height !== height || example.width !== width)
        throw new RankineError(
          'data/image-size',
          `Images of ${height} × ${width} and ${example.height} × ${example.width} are in one batch.`,
          'Resize all to one size.',
        );
      pixels.set(example.pixels, b * size);
      labels[b] = example.label;
    });
    yield { shape: [batchSize, 3, height, width], pixels, labels, epoch, next };
  }
}
