/** A measured point of a curve. */
export interface Point {
  readonly step: number;
  readonly value: number;
}

/** Braille: two dots wide, four high; the bit of dot (column, row from the top). */
const DOT = [
  [0x01, 0x02, 0x04, 0x40],
  [0x08, 0x10, 0x20, 0x80],
];
const BLANK = 0x2800;

export interface CurveOptions {
  /** In characters. */
  readonly width: number;
  readonly height: number;
  /** Range of steps from the left edge to the right one. */
  readonly steps: readonly [number, number];
  /** Range of values from the bottom to the top. */
  readonly values: readonly [number, number];
}

/** Draws the points, joined by lines, as `height` lines of `width` braille characters. NaN and infinity leave gaps. */
export function curve(points: readonly Point[], options: CurveOptions): string[] {
  const { width, height } = options;
  const cells = Array.from({ length: height }, () => new Uint8Array(width));
  let previous: Dot | undefined;
  for (const point of points) {
    const dot = Number.isFinite(point.value) ? place(point, options) : undefined;
    if (dot)
      for (const [x, y] of previous ? line(previous, dot) : [dot]) cells[y >> 2][x >> 1] |= DOT[x & 1][y & 3];
    previous = dot;
  }
  return cells.map((row) => String.fromCharCode(...Array.from(row, (bits) => BLANK + bits)));
}

/** Smallest and largest finite value, or undefined if there is none. */
export function rangeOf(points: readonly Point[]): readonly [number, number] | undefined {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const { value } of points)
    if (Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  return low <= high ? [low, high] : undefined;
}

type Dot = readonly [x: number, y: number];

function place({ step, value }: Point, { width, height, steps, values }: CurveOptions): Dot {
  const x = share(step, steps, 0);
  const y = share(value, values, 0.5);
  return [Math.round(x * (2 * width - 1)), Math.round((1 - y) * (4 * height - 1))];
}

function share(value: number, [low, high]: readonly [number, number], ifEmpty: number): number {
  return high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : ifEmpty;
}

/** The dots from `a` to `b`, one for each row or column crossed. */
function* line([ax, ay]: Dot, [bx, by]: Dot): Generator<Dot> {
  const count = Math.max(Math.abs(bx - ax), Math.abs(by - ay), 1);
  for (let i = 0; i <= count; i++)
    yield [Math.round(ax + ((bx - ax) * i) / count), Math.round(ay + ((by - ay) * i) / count)];
}
