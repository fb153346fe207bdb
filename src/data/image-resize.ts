import type { Image } from './image-decode.ts';

/** Interpolation, by PIL's numbers in `preprocessor_config.json`: 2 bilinear, 3 bicubic. */
export type Filter = 'bilinear' | 'bicubic';

/**
 * Resizes as Pillow 11.3 does (`Resample.c`), to the same bytes: separable, the filter widened when shrinking
 * (antialias), 8 bits between the passes, coefficients in fixed point of 22 bits, horizontally first. Pillow 13.0
 * chooses the order of the passes by size, so some of its bytes differ.
 */
export function resize(image: Image, height: number, width: number, filter: Filter = 'bilinear'): Image {
  const narrow =
    width === image.width ? image : horizontally(image, coefficients(image.width, width, filter));
  return height === image.height ? narrow : vertically(narrow, coefficients(image.height, height, filter));
}

/** The middle `height` × `width` of an image at least as large (torchvision's rounding). */
export function centerCrop(image: Image, height: number, width: number): Image {
  const top = Math.round((image.height - height) / 2);
  const left = Math.round((image.width - width) / 2);
  const data = new Uint8Array(height * width * image.channels);
  const row = width * image.channels;
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * image.channels;
    data.set(image.data.subarray(from, from + row), y * row);
  }
  return { height, width, channels: image.channels, data };
}

/** For every output place: the first input place and the weights from there, scaled by 2^22. */
interface Coefficients {
  readonly starts: number[];
  readonly weights: number[][];
}

const PRECISION = 2 ** 22;
const SUPPORT = { bilinear: 1, bicubic: 2 };

function coefficients(from: number, to: number, filter: Filter): Coefficients {
  const scale = from / to;
  const widened = Math.max(scale, 1);
  const support = SUPPORT[filter] * widened;
  const starts: number[] = [];
  const weights: number[][] = [];
  for (let i = 0; i < to; i++) {
    const center = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(from, Math.trunc(center + support + 0.5));
    const raw = Array.from({ length: end - start }, (_, k) =>
      kernel((start + k - center + 0.5) / widened, filter),
    );
    const sum = raw.reduce((total, w) => total + w, 0);
    starts.push(start);
    weights.push(raw.map((w) => roundAway((w / sum) * PRECISION)));
  }
  return { starts, weights };
}

function kernel(x: number, filter: Filter): number {
  const d = Math.abs(x);
  if (filter === 'bilinear') return Math.max(0, 1 - d);
  // Keys' cubic with a = −0.5.
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

/** C rounds halves away from zero where JavaScript rounds them up. */
function roundAway(x: number): number {
  return x < 0 ? Math.trunc(x - 0.5) : Math.trunc(x + 0.5);
}

function clip(sum: number): number {
  return Math.max(0, Math.min(255, Math.floor((sum + PRECISION / 2) / PRECISION)));
}

function horizontally({ data, height, width, channels }: Image, { starts, weights }: Coefficients): Image {
  const out = new Uint8Array(height * starts.length * channels);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < starts.length; x++)
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        const at = (y * width + starts[x]) * channels + c;
        for (let k = 0; k < weights[x].length; k++) sum += data[at + k * channels] * weights[x][k];
        out[(y * starts.length + x) * channels + c] = clip(sum);
      }
  return { height, width: starts.length, channels, data: out };
}

function vertically({ data, width, channels }: Image, { starts, weights }: Coefficients): Image {
  const row = width * channels;
  const out = new Uint8Array(starts.length * row);
  for (let y = 0; y < starts.length; y++)
    for (let i = 0; i < row; i++) {
      let sum = 0;
      const at = starts[y] * row + i;
      for (let k = 0; k < weights[y].length; k++) sum += data[at + k * row] * weights[y][k];
      out[y * row + i] = clip(sum);
    }
  return { height: starts.length, width, channels, data: out };
}
