import { type Cursor, random } from '../../../src/linalg/index.ts';
import { AREA, type Picture, SIDE } from './pictures.ts';

/** One to four bright discs and slanted boxes on a dark ground that grows brighter to one side, drowned in noise. */
export function shapes(seed: number, from: number, count: number): Picture[] {
  return Array.from({ length: count }, (_, i) => drawPicture(random(seed, `shapes/${from + i}`).cursor()));
}

function drawPicture(cursor: Cursor): Picture {
  const between = (low: number, high: number) => low + (high - low) * cursor.uniform();
  const mask = new Float32Array(AREA);
  const pixels = new Float32Array(AREA);
  const [ground, noise] = [between(-0.9, -0.3), between(0.05, 0.3)];
  const [down, right] = [between(-0.3, 0.3), between(-0.3, 0.3)];
  for (let i = 0; i < AREA; i++)
    pixels[i] = ground + (down * Math.floor(i / SIDE) + right * (i % SIDE)) / SIDE;
  for (let n = 1 + cursor.integer(4); n > 0; n--) {
    const inside = shape(between, cursor.integer(2) === 0);
    const bright = between(0.2, 0.9);
    for (let i = 0; i < AREA; i++) {
      if (!inside(Math.floor(i / SIDE), i % SIDE)) continue;
      mask[i] = 1;
      pixels[i] = bright;
    }
  }
  for (let i = 0; i < AREA; i++) pixels[i] = Math.max(-1, Math.min(1, pixels[i] + noise * cursor.normal()));
  return { pixels, mask };
}

type Between = (low: number, high: number) => number;

/** An ellipse or a box, turned by any angle. */
function shape(between: Between, round: boolean): (row: number, column: number) => boolean {
  const [top, left] = [between(0, SIDE), between(0, SIDE)];
  const [height, width] = [between(4, 18), between(4, 18)];
  const angle = between(0, Math.PI);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return (row, column) => {
    const a = (cos * (row - top) + sin * (column - left)) / height;
    const b = (cos * (column - left) - sin * (row - top)) / width;
    return round ? a * a + b * b < 1 : Math.abs(a) < 1 && Math.abs(b) < 1;
  };
}
