/** A rectangle in a picture. */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** A text that wants to stand beside its point. */
export interface Wanted {
  readonly text: string;
  readonly x: number;
  readonly y: number;
  /** Kept at the best place even where it touches others. */
  readonly must: boolean;
}

export interface Placed {
  readonly text: string;
  /** Left end of its base line. */
  readonly x: number;
  readonly y: number;
  /** Far from its point: a line leads to it. */
  readonly led: boolean;
}

const HEIGHT = 14;
/** Of a letter at 12 units in the usual sans-serif faces, on the wide side. */
const LETTER = 6.6;

/**
 * Places texts beside their points, in order, each where it covers least: greedy, with places around the point at
 * growing distance. Those that find no free place are left out unless they must be there.
 *
 * @param obstacles what no text may cover (points, their intervals)
 * @returns for each text its place, or undefined
 */
export function placeLabels(
  wanted: readonly Wanted[],
  obstacles: readonly Box[],
  bounds: Box,
): (Placed | undefined)[] {
  const taken = [...obstacles];
  return wanted.map((label) => {
    const candidates = places(label).filter(({ box }) => inside(box, bounds));
    const costs = candidates.map(
      ({ box, cost }) => cost + 10 * taken.reduce((n, t) => n + overlap(box, t), 0),
    );
    const best = costs.indexOf(Math.min(...costs));
    if (best < 0 || (costs[best] > FREE && !label.must)) return undefined;
    const { box, led } = candidates[best];
    taken.push(box);
    return { text: label.text, x: box.x + 2, y: box.y + HEIGHT - 3.5, led };
  });
}

/** Costs of distance alone stay below this. */
const FREE = 10;

const DIRECTIONS = [
  [1, 0],
  [1, -0.8],
  [1, 0.8],
  [-1, 0],
  [-1, -0.8],
  [-1, 0.8],
  [0, -1],
  [0, 1],
] as const;

function places({ text, x, y }: Wanted): { box: Box; cost: number; led: boolean }[] {
  const width = text.length * LETTER + 4;
  return [9, 20, 34, 50].flatMap((distance, ring) =>
    DIRECTIONS.map(([dx, dy], order) => {
      const left = x + dx * distance - (dx === 0 ? width / 2 : dx < 0 ? width : 0);
      const box = { x: left, y: y + dy * distance - HEIGHT / 2, width, height: HEIGHT };
      return { box, cost: ring * 2 + order * 0.2, led: ring > 1 };
    }),
  );
}

function inside(box: Box, bounds: Box): boolean {
  return (
    box.x >= bounds.x &&
    box.y >= bounds.y &&
    box.x + box.width <= bounds.x + bounds.width &&
    box.y + box.height <= bounds.y + bounds.height
  );
}

function overlap(a: Box, b: Box): number {
  const w = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const h = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  return w > 0 && h > 0 ? w * h : 0;
}
