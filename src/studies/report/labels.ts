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
  /** Of its base line, where it is anchored. */
  readonly x: number;
  readonly y: number;
  /** Towards its point: faces are of different widths, and what is too wide should grow away from it. */
  readonly anchor: 'start' | 'middle' | 'end';
  /** Far from its point: where the line that leads to it ends. */
  readonly leader?: Place;
}

export type Place = readonly [x: number, y: number];

interface Candidate {
  readonly box: Box;
  readonly cost: number;
  readonly leader?: Place;
}

/** Of a line of text, by its size. */
const HEIGHT = 1.17;
/** Width of a letter by the text's size, in the usual sans-serif faces, on the wide side. */
export const LETTER = 0.58;
/** Costs of distance alone stay below this. */
const FREE = 10;
/** Times that every text may move once the others stand. */
const ROUNDS = 4;

/**
 * Places texts beside their points, each where it covers least, near before far: first in order, then each once more
 * while the others stand. Those that find no free place are left out unless they must be there.
 *
 * @param obstacles what no text may cover (points, their intervals)
 * @param size of the text in the picture's units
 * @returns for each text its place, or undefined
 */
export function placeLabels(
  wanted: readonly Wanted[],
  obstacles: readonly Box[],
  bounds: Box,
  size = 12,
): (Placed | undefined)[] {
  const choices = wanted.map((label) => candidates(label, size).filter(({ box }) => inside(box, bounds)));
  const chosen: (Candidate | undefined)[] = wanted.map(() => undefined);
  for (let round = 0; round < ROUNDS; round++) {
    const before = [...chosen];
    wanted.forEach((label, i) => {
      const others = chosen.filter((c, k) => c !== undefined && k !== i) as Candidate[];
      chosen[i] = cheapest(choices[i], label, obstacles, others);
    });
    if (chosen.every((c, i) => c === before[i])) break;
  }
  return chosen.map((candidate, i) => {
    if (!candidate) return undefined;
    const { box, leader } = candidate;
    return {
      text: wanted[i].text,
      ...anchored(box, wanted[i].x),
      y: box.y + (HEIGHT - 0.29) * size,
      leader,
    };
  });
}

function anchored({ x, width }: Box, point: number): Pick<Placed, 'x' | 'anchor'> {
  if (x >= point) return { x: x + 2, anchor: 'start' };
  return x + width <= point ? { x: x + width - 2, anchor: 'end' } : { x: x + width / 2, anchor: 'middle' };
}

function cheapest(
  choices: readonly Candidate[],
  point: Wanted,
  obstacles: readonly Box[],
  others: readonly Candidate[],
): Candidate | undefined {
  let best: Candidate | undefined;
  let least = point.must ? Number.POSITIVE_INFINITY : FREE;
  for (const choice of choices) {
    // Near places come first: what is farther cannot be cheaper than its distance.
    if (choice.cost >= least) continue;
    const cost = choice.cost + covering(choice, point, obstacles, others);
    if (cost < least) [best, least] = [choice, cost];
  }
  return best;
}

/** What a text and its leader would hide, or be hidden by. */
function covering(
  { box, leader }: Candidate,
  point: Wanted,
  obstacles: readonly Box[],
  others: readonly Candidate[],
): number {
  const under = obstacles.reduce((sum, o) => sum + overlap(box, o), 0);
  const beside = others.reduce((sum, o) => sum + overlap(box, o.box), 0);
  const boxes = others.map((o) => o.box);
  const crossed = leader ? crossings([point.x, point.y], leader, boxes) : 0;
  return FREE * (under + 2 * beside + 8 * crossed);
}

/** Radii around a point, and how many directions are tried at each; beyond the second a line leads to the text. */
const RINGS = [
  { distance: 9, directions: 8 },
  { distance: 17, directions: 12 },
  { distance: 28, directions: 16 },
  { distance: 42, directions: 20 },
  { distance: 60, directions: 24 },
  { distance: 82, directions: 24 },
  { distance: 110, directions: 24 },
] as const;
const NEAR = 2;

/** Places around a point in rings; at the same distance first to the right, then to the left, then above and below. */
function candidates({ text, x, y }: Wanted, size: number): Candidate[] {
  const [width, height] = [text.length * LETTER * size + 4, HEIGHT * size];
  return RINGS.flatMap(({ distance, directions }, ring) =>
    Array.from({ length: directions }, (_, k): Candidate => {
      const angle = (2 * Math.PI * k) / directions;
      const [dx, dy] = [Math.cos(angle), Math.sin(angle)];
      // The box's nearest side stands at the distance: its centre is as much farther as it reaches towards the point.
      const left = x + dx * distance + (dx * width) / 2 - width / 2;
      const top = y + dy * distance + (dy * height) / 2 - height / 2;
      const box = { x: left, y: top, width, height };
      const cost = ring * 1.2 + 0.5 * Math.abs(dy) + (dx < -0.01 ? 0.2 : 0);
      return ring < NEAR ? { box, cost } : { box, cost, leader: nearest(box, [x, y]) };
    }),
  );
}

/** Of a box, the place that is nearest to a point. */
function nearest({ x, y, width, height }: Box, [px, py]: Place): Place {
  return [Math.min(Math.max(px, x), x + width), Math.min(Math.max(py, y), y + height)];
}

/** How many boxes a line goes through, looked at every few units. */
function crossings([x0, y0]: Place, [x1, y1]: Place, boxes: readonly Box[]): number {
  const steps = Math.ceil(Math.hypot(x1 - x0, y1 - y0) / 4);
  const places = Array.from({ length: steps }, (_, i) => (i + 0.5) / steps);
  const within = ({ x, y, width, height }: Box, t: number) => {
    const [px, py] = [x0 + t * (x1 - x0), y0 + t * (y1 - y0)];
    return px > x && px < x + width && py > y && py < y + height;
  };
  return boxes.filter((box) => places.some((t) => within(box, t))).length;
}

function inside(box: Box, bounds: Box): boolean {
  return (
    box.x >= bounds.x &&
    box.y >= bounds.y &&
    box.x + box.width <= bounds.x + bounds.width &&
    box.y + box.height <= bounds.y + bounds.height
  );
}

/** Area that two boxes share. */
export function overlap(a: Box, b: Box): number {
  const w = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const h = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  return w > 0 && h > 0 ? w * h : 0;
}
