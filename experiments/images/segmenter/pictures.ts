import type { NDArray } from '../../../src/graph/index.ts';

/** Rows and columns of a picture. */
export const SIDE = 64;
export const AREA = SIDE * SIDE;

/** A grey picture of SIDE × SIDE samples from −1 to 1, row by row, with 1 where it shows what is looked for, else 0. */
export interface Picture {
  readonly pixels: Float32Array;
  readonly mask: Float32Array;
}

/** Inputs of a program: pixels [B, 1, SIDE, SIDE] and masks [B, AREA]. */
export function batchOf(pictures: readonly Picture[]): { pixels: NDArray; masks: NDArray } {
  const count = pictures.length;
  const pixels = new Float32Array(count * AREA);
  const masks = new Float32Array(count * AREA);
  pictures.forEach((picture, b) => {
    pixels.set(picture.pixels, b * AREA);
    masks.set(picture.mask, b * AREA);
  });
  return {
    pixels: { dtype: 'float32', shape: [count, 1, SIDE, SIDE], data: pixels },
    masks: { dtype: 'float32', shape: [count, AREA], data: masks },
  };
}

/** One of the eight ways to turn and mirror a square. @param way 0 to 7; 0 leaves it as it is */
export function turned({ pixels, mask }: Picture, way: number): Picture {
  const place = (i: number) => {
    let [row, column] = [Math.floor(i / SIDE), i % SIDE];
    if (way & 1) row = SIDE - 1 - row;
    if (way & 2) column = SIDE - 1 - column;
    return way & 4 ? column * SIDE + row : row * SIDE + column;
  };
  return { pixels: pixels.map((_, i) => pixels[place(i)]), mask: mask.map((_, i) => mask[place(i)]) };
}

/** 2 |A ∩ B| / (|A| + |B|) over several pictures together; 1 where both are empty. */
export function dice(predicted: readonly Float32Array[], masks: readonly Float32Array[]): number {
  let [both, sum] = [0, 0];
  predicted.forEach((own, b) => {
    for (let i = 0; i < own.length; i++) {
      both += own[i] * masks[b][i];
      sum += own[i] + masks[b][i];
    }
  });
  return sum === 0 ? 1 : (2 * both) / sum;
}
