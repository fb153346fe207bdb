import { join } from 'node:path';
import { readImage } from '../../../src/data/index.ts';
import { random } from '../../../src/linalg/index.ts';
import { AREA, type Picture, SIDE } from './pictures.ts';

/** A section of tissue at half its size. */
export interface Section {
  readonly side: number;
  readonly pixels: Float32Array;
  readonly mask: Float32Array;
}

/**
 * Neighbouring slices of one stack, apart by whole slices between the parts: those of the test are none that were seen.
 * The mask is the membranes: thin dark curves between cells.
 */
export const PARTS = { train: [0, 10], valid: [11, 13], test: [14, 20] } as const;

/** Sections of the ISBI 2012 challenge. @param folder of image_00.png and label_00.png to 19 */
export async function readSections(
  folder: string,
  [from, to]: readonly [number, number],
): Promise<Section[]> {
  const list = [];
  for (let i = from; i < to; i++) {
    const file = (kind: string) => join(folder, `${kind}_${String(i).padStart(2, '0')}.png`);
    const [image, label] = [await readImage(file('image')), await readImage(file('label'))];
    const grey = { side: image.width, step: image.channels };
    const drawn = { side: label.width, step: label.channels };
    list.push({
      side: image.width / 2,
      pixels: halved(image.data, grey).map((v) => v / 127.5 - 1),
      // Labels are 255 inside cells.
      mask: halved(label.data, drawn).map((v) => Number(v < 128)),
    });
  }
  return list;
}

/** Means of 2 × 2 samples of the first channel. */
function halved(data: Uint8Array, { side, step }: { side: number; step: number }): Float32Array {
  const half = side / 2;
  return new Float32Array(half * half).map((_, i) => {
    const at = (2 * Math.floor(i / half) * side + 2 * (i % half)) * step;
    return (data[at] + data[at + step] + data[at + side * step] + data[at + (side + 1) * step]) / 4;
  });
}

/** The part of a section whose upper left corner is at a place. */
export function cut({ side, pixels, mask }: Section, row: number, column: number): Picture {
  const from = (all: Float32Array) =>
    new Float32Array(AREA).map((_, i) => all[(row + Math.floor(i / SIDE)) * side + column + (i % SIDE)]);
  return { pixels: from(pixels), mask: from(mask) };
}

/** The whole section, piece by piece. */
export function pieces(section: Section): Picture[] {
  const places = Array.from({ length: Math.floor(section.side / SIDE) }, (_, i) => i * SIDE);
  return places.flatMap((row) => places.map((column) => cut(section, row, column)));
}

/** So many pieces of each section from places drawn by the seed. */
export function drawPieces(sections: readonly Section[], each: number, seed: number): Picture[] {
  const cursor = random(seed, 'membranes/places').cursor();
  return sections.flatMap((section) =>
    Array.from({ length: each }, () => {
      const place = () => cursor.integer(section.side - SIDE + 1);
      return cut(section, place(), place());
    }),
  );
}
