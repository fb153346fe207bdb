import type { Frame } from './axes.ts';
import type { Cost } from './costs.ts';
import { linearScale, logScale, outerFence, type Scale } from './scale.ts';
import type { Entry, View } from './view.ts';

/** A method's place in the picture of quality against cost. */
export interface Point {
  readonly entry: Entry;
  readonly cost: number;
  readonly quality: number;
  readonly x: number;
  readonly y: number;
  /** Worse than the axis shows: drawn at its end. */
  readonly off: boolean;
}

export interface Plot {
  readonly x: Scale;
  readonly y: Scale;
  readonly points: readonly Point[];
}

/** Scales that hold all entries which have both numbers, and the entries on them. */
export function plot(view: View, cost: Cost, frame: Frame): Plot {
  const known = view.entries.flatMap((entry) => {
    const { mean } = entry.summary;
    const spent = cost.of(entry.summary);
    return mean === undefined || !spent ? [] : [{ entry, quality: mean, cost: spent }];
  });
  const { isOff, low: least, high: most, worst } = qualityAxis(view);
  const upright = [frame.height - frame.bottom - 8, frame.top + 4] as const;
  const y = linearScale(least, most, upright, 6);
  const edge = y.domain[worst === 'low' ? 0 : 1];
  const x = costScale(
    known.map((p) => p.cost),
    frame,
  );
  const points = known.map((p): Point => {
    const off = isOff(p.quality);
    return { ...p, off, x: x.at(p.cost), y: y.at(off ? edge : p.quality) };
  });
  return { x, y, points };
}

/** A fifth of the highest cost is the least that the axis spans: what hardly differs must not look as if it did. */
function costScale(costs: readonly number[], frame: Frame): Scale {
  const [least, most] = [Math.min(...costs), Math.max(...costs)];
  const margin = Math.max(0, (0.2 * most - (most - least)) / 2);
  const [low, high] = [least - margin, most + margin];
  const across = [frame.left + 10, frame.width - frame.right - 10] as const;
  return high / low > 4 ? logScale(low, high, across) : linearScale(low, high, across, frame.width / 110);
}

/** How far the axis of quality reaches: one value far off on the bad side does not press the others together. */
export function qualityAxis({ entries, result }: View) {
  const known = entries.flatMap(({ summary: { mean, interval } }) =>
    mean === undefined ? [] : [{ mean, ends: interval ?? [mean] }],
  );
  const worst = result.metric.direction === 'max' ? ('low' as const) : ('high' as const);
  const fence = outerFence(
    known.map((p) => p.mean),
    worst === 'low' ? 'below' : 'above',
  );
  const isOff = (value: number) => (worst === 'low' ? value < fence : value > fence);
  const shown = known.filter((p) => !isOff(p.mean)).flatMap((p) => [p.mean, ...p.ends]);
  const ends = shown.map((value) => (isOff(value) ? fence : value));
  const anyOff = known.some((p) => isOff(p.mean));
  return { isOff, anyOff, worst, low: Math.min(...ends), high: Math.max(...ends) };
}

/** Those that no other beats on quality at the same or a lower cost, by rising cost; of equal ones the first. */
export function frontier<T extends { readonly cost: number; readonly quality: number }>(
  points: readonly T[],
  better: (a: number, b: number) => boolean,
): T[] {
  const sorted = [...points].sort((a, b) => a.cost - b.cost || (better(a.quality, b.quality) ? -1 : 1));
  const best: T[] = [];
  for (const point of sorted)
    if (best.length === 0 || better(point.quality, best[best.length - 1].quality)) best.push(point);
  return best;
}
