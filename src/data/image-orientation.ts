import type { Image } from './image-decode.ts';

const ORIENTATION = 0x0112;
/** Orientations whose stored rows are read from the last, and columns likewise. */
const FROM_BELOW = new Set([3, 4, 6, 7]);
const FROM_RIGHT = new Set([2, 3, 7, 8]);

/**
 * The orientation that a JPEG's EXIF data names, 1 (upright) to 8; 1 where they name none.
 * @see CIPA DC-008 (Exif 2.32), section 4.6.4
 */
export function exifOrientation(jpeg: Buffer): number {
  // Segments: ff, marker, length (with its own two bytes), content; the picture begins at ffda.
  for (let at = 2; at + 10 <= jpeg.length && jpeg[at] === 0xff && jpeg[at + 1] !== 0xda; ) {
    const end = at + 2 + jpeg.readUInt16BE(at + 2);
    if (jpeg[at + 1] === 0xe1 && jpeg.toString('latin1', at + 4, at + 10) === 'Exif\0\0')
      return tiffOrientation(jpeg.subarray(at + 10, end));
    at = end;
  }
  return 1;
}

/** The tag among those of the first directory: 12 bytes each, after their count. */
function tiffOrientation(tiff: Buffer): number {
  if (tiff.length < 10) return 1;
  const little = tiff.toString('latin1', 0, 2) === 'II';
  const short = (at: number) => (little ? tiff.readUInt16LE(at) : tiff.readUInt16BE(at));
  const start = little ? tiff.readUInt32LE(4) : tiff.readUInt32BE(4);
  if (start + 2 > tiff.length) return 1;
  const count = Math.min(short(start), Math.floor((tiff.length - start - 2) / 12));
  for (let i = 0, at = start + 2; i < count; i++, at += 12)
    if (short(at) === ORIENTATION) {
      const value = short(at + 8);
      return value >= 1 && value <= 8 ? value : 1;
    }
  return 1;
}

/** Turns and mirrors an image so that it stands upright, as Pillow's `exif_transpose` does. */
export function upright(image: Image, orientation: number): Image {
  if (orientation === 1) return image;
  const { height, width, channels, data } = image;
  const transposed = orientation >= 5;
  const [h, w] = transposed ? [width, height] : [height, width];
  const out = new Uint8Array(data.length);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const [row, column] = sourceOf(orientation, y, x, height, width);
      const from = (row * width + column) * channels;
      const to = (y * w + x) * channels;
      for (let c = 0; c < channels; c++) out[to + c] = data[from + c];
    }
  return { height: h, width: w, channels, data: out };
}

/** Where the pixel (y, x) of the upright image lies in the stored one of `height` x `width`. */
function sourceOf(
  orientation: number,
  y: number,
  x: number,
  height: number,
  width: number,
): readonly [row: number, column: number] {
  const [row, column] = orientation >= 5 ? [x, y] : [y, x];
  return [
    FROM_BELOW.has(orientation) ? height - 1 - row : row,
    FROM_RIGHT.has(orientation) ? width - 1 - column : column,
  ];
}
