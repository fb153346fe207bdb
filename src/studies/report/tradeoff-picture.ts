import type { StudyResult } from '../results.ts';
import { type Frame, horizontalAxis, linePath, verticalAxis } from './axes.ts';
import { score } from './format.ts';
import { type Html, html } from './html.ts';
import { type Box, placeLabels } from './labels.ts';
import { linearScale, logScale, outerFence, px, type Scale } from './scale.ts';
import type { Cost } from './tradeoff.ts';
import { type Entry, factsOf, isBetter, type View } from './view.ts';

const FRAMES: Readonly<Record<'wide' | 'narrow', Frame>> = {
  wide: { width: 920, height: 480, left: 58, right: 18, top: 34, bottom: 50 },
  narrow: { width: 370, height: 430, left: 48, right: 12, top: 34, bottom: 50 },
};

interface Point {
  readonly entry: Entry;
  readonly cost: number;
  readonly quality: number;
  readonly x: number;
  readonly y: number;
  /** Worse than the axis shows: drawn at its end. */
  readonly off: boolean;
}

/** One cost's picture, drawn for wide pages or for phones. */
export function tradeoffPicture(
  view: View,
  cost: Cost,
  { shape, isHidden }: { readonly shape: 'wide' | 'narrow'; readonly isHidden: boolean },
): Html {
  const frame = FRAMES[shape];
  const { x, y, points } = placed(view, cost, frame);
  const { metric } = view.result;
  const better = metric.direction === 'max' ? '↑' : '↓';
  const axes = [
    verticalAxis(frame, y, {
      tick: (value) => score(value, metric),
      title: `${better} ${metric.name} on the test data`,
    }),
    horizontalAxis(frame, x, { tick: cost.tick, title: `${cost.title} →` }),
  ];
  return html`<svg class="${shape}" data-cost="${cost.id}"${isHidden && html` hidden`} viewBox="0 0 ${frame.width} ${frame.height}" role="group" aria-label="${`${metric.name} against ${cost.title}`}">
${axes}${limitLine(cost, frame, x)}${baseline(view.result, frame, y)}
<path class="frontier" d="${frontierPath(points, view.result)}"/>
${connectors(points)}${points.map((p) => mark(p, frame, y, view.result))}${texts(points, frame, y)}</svg>`;
}

function placed(view: View, cost: Cost, frame: Frame): { x: Scale; y: Scale; points: Point[] } {
  const known = view.entries.flatMap((entry) => {
    const { mean } = entry.summary;
    const spent = cost.of(entry.summary);
    return mean === undefined || !spent ? [] : [{ entry, quality: mean, cost: spent }];
  });
  const costs = known.map((p) => p.cost);
  const [low, high] = [Math.min(...costs), Math.max(...costs)];
  const across = [frame.left + 10, frame.width - frame.right - 10] as const;
  const x = high / low > 4 ? logScale(low, high, across) : linearScale(low, high, across, frame.width / 110);
  const { isOff, low: least, high: most, worst } = qualityAxis(view);
  const upright = [frame.height - frame.bottom - 8, frame.top + 4] as const;
  const y = linearScale(least, most, upright, 6);
  const edge = y.domain[worst === 'low' ? 0 : 1];
  const points = known.map((p): Point => {
    const off = isOff(p.quality);
    return { ...p, off, x: x.at(p.cost), y: y.at(off ? edge : p.quality) };
  });
  return { x, y, points };
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

/** What may be spent at most. */
function limitLine({ limit }: Cost, frame: Frame, x: Scale): Html | undefined {
  if (limit === undefined || limit < x.domain[0] || limit > x.domain[1]) return undefined;
  const at = px(x.at(limit));
  return html`<path class="limit" d="M${at} ${frame.top}V${frame.height - frame.bottom}"/><text class="note" x="${at}" y="${frame.top - 4}" text-anchor="end">budget</text>`;
}

/** The score before training, where the axis reaches it. */
function baseline({ baseline: value }: StudyResult, frame: Frame, y: Scale): Html | undefined {
  if (value === undefined || value < y.domain[0] || value > y.domain[1]) return undefined;
  const at = y.at(value);
  return html`<path class="baseline" d="M${frame.left} ${px(at)}H${frame.width - frame.right}"/><text class="note" x="${frame.width - frame.right}" y="${px(at - 5)}" text-anchor="end">before training</text>`;
}

/** Steps through the methods that none other beats on both quality and cost. */
function frontierPath(points: readonly Point[], result: StudyResult): string {
  const best = frontier(
    points.filter((p) => p.entry.decides && !p.off),
    (a, b) => isBetter(a, b, result),
  );
  const corners = best.flatMap((p, i) => [
    ...(i === 0 ? [] : [[p.x, best[i - 1].y] as const]),
    [p.x, p.y] as const,
  ]);
  return linePath(corners);
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

/** From a method's default settings to its tuned ones. */
function connectors(points: readonly Point[]): Html[] {
  return points.flatMap((p) => {
    const tuned = points.find((t) => t.entry.decides && t.entry.summary.method === p.entry.summary.method);
    if (p.entry.decides || !tuned) return [];
    return [
      html`<path class="connector" d="${linePath([
        [p.x, p.y],
        [tuned.x, tuned.y],
      ])}"/>`,
    ];
  });
}

function mark(point: Point, frame: Frame, y: Scale, result: StudyResult): Html {
  const { entry, x } = point;
  const { summary, decides } = entry;
  const cy = px(point.y);
  const facts = factsOf(entry, result);
  const interval =
    summary.interval && decides && !point.off ? whisker(point, summary.interval, frame, y) : undefined;
  const shape = point.off
    ? triangle(point, result)
    : decides
      ? html`<circle class="point${summary.amongBest && ' best'}" cx="${px(x)}" cy="${cy}" r="5.5"/>`
      : html`<rect class="point plain" x="${px(x - 3.5)}" y="${px(point.y - 3.5)}" width="7" height="7" transform="rotate(45 ${px(x)} ${cy})"/>`;
  return html`<g class="mark" tabindex="0" role="img" data-method="${summary.method}" data-title="${entry.name}" data-tip="${facts.join('\n')}" aria-label="${`${entry.name}: ${facts.join(', ')}`}">${interval}${shape}</g>`;
}

/** Points beyond the axis's end, towards where the value is. */
function triangle({ x, y, entry }: Point, { metric }: StudyResult): Html {
  const down = metric.direction === 'max' ? 1 : -1;
  const d = `M${px(x - 5)} ${px(y - 4 * down)}h10l-5 ${9 * down}z`;
  return html`<path class="point off${!entry.decides && ' plain'}" d="${d}"/>`;
}

function whisker({ x }: Point, [low, high]: readonly [number, number], frame: Frame, y: Scale): Html {
  const clamp = (at: number) => Math.min(frame.height - frame.bottom, Math.max(frame.top, at));
  const [from, to] = [clamp(y.at(low)), clamp(y.at(high))];
  return html`<path class="whisker" d="M${px(x)} ${px(from)}V${px(to)}M${px(x - 3)} ${px(from)}h6M${px(x - 3)} ${px(to)}h6"/>`;
}

/** Names beside the points; the best keep theirs wherever it is crowded. */
function texts(points: readonly Point[], frame: Frame, y: Scale): Html[] {
  const named = points.filter((p) => p.entry.decides);
  const rank = (p: Point) => (p.entry.recommended ? 0 : p.entry.summary.amongBest ? 1 : 2);
  const ordered = [...named].sort((a, b) => rank(a) - rank(b));
  const bounds: Box = {
    x: frame.left,
    y: frame.top - 8,
    width: frame.width - frame.left - frame.right + 8,
    height: frame.height - frame.top - frame.bottom + 8,
  };
  const obstacles = points.flatMap((p): Box[] => {
    const point = { x: p.x - 5, y: p.y - 5, width: 10, height: 10 };
    const { interval } = p.entry.summary;
    if (!p.entry.decides || !interval || p.off) return [point];
    const [a, b] = interval.map((v) => y.at(v));
    return [point, { x: p.x - 1, y: Math.min(a, b), width: 2, height: Math.abs(a - b) }];
  });
  const wanted = ordered.map((p) => ({
    text: p.entry.summary.label,
    x: p.x,
    y: p.y,
    must: p.entry.summary.amongBest,
  }));
  return placeLabels(wanted, obstacles, bounds).flatMap((place, i) => {
    if (!place) return [];
    const { x, y: top, entry } = ordered[i];
    const middle = place.x + place.text.length * 3;
    const lead = place.led
      ? html`<path class="leader" d="${linePath([
          [x, top],
          [middle, place.y - 4],
        ])}"/>`
      : undefined;
    return [
      html`${lead}<text class="name${entry.summary.amongBest && ' best'}${entry.recommended && ' recommended'}" data-method="${entry.summary.method}" x="${px(place.x)}" y="${px(place.y)}">${place.text}</text>`,
    ];
  });
}
