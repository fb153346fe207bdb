import type { Point } from './curve.ts';

const CAPACITY = 512;

/** A curve of any length in bounded memory. */
export interface History {
  push(point: Point): void;
  /** At most 512 points in order of their steps, each the mean of equally many neighbours. */
  points(): readonly Point[];
}

/** Keeps means over neighbours: whenever it is full, pairs are merged and each point stands for twice as many. */
export function history(): History {
  let kept: Point[] = [];
  let pending: Point[] = [];
  let stride = 1;
  return {
    push(point) {
      pending.push(point);
      if (pending.length < stride) return;
      kept.push(mean(pending));
      pending = [];
      if (kept.length < CAPACITY) return;
      kept = Array.from({ length: CAPACITY / 2 }, (_, i) => mean([kept[2 * i], kept[2 * i + 1]]));
      stride *= 2;
    },
    points: () => (pending.length > 0 ? [...kept, mean(pending)] : kept),
  };
}

/** At the last one's step, so that the curve ends where the run is. */
function mean(points: readonly Point[]): Point {
  const total = points.reduce((sum, { value }) => sum + value, 0);
  return { step: points[points.length - 1].step, value: total / points.length };
}
