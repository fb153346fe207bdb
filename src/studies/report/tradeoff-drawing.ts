import type { StudyResult } from '../results.ts';
import { type Frame, horizontalAxis, linePath, verticalAxis } from './axes.ts';
import { type Cost, costTicks } from './costs.ts';
import { metricTitle, scoreTicks } from './format.ts';
import { type Html, html } from './html.ts';
import { type Box, LETTER, overlap, type Place, type Placed, placeLabels } from './labels.ts';
import { px, type Scale } from './scale.ts';
import { frontier, type Plot, type Point, plot } from './tradeoff-points.ts';
import { isBetter, type View } from './view.ts';

/** How one picture of quality against cost differs from another. */
export interface DrawingOptions {
  readonly frame: Frame;
  /** Size of names, in the picture's units. */
  readonly text: number;
  /** Every method is named, however crowded it is; else those that do not fit go without. */
  readonly nameAll: boolean;
  /** Axes say which way is better: nothing around the picture does. */
  readonly explain: boolean;
  /** What surrounds a point's marks. */
  readonly wrap: (point: Point, marks: Html) => Html;
}

/** Quality against cost: axes, the limit, the frontier, points with intervals, names. */
export function tradeoffDrawing(view: View, cost: Cost, options: DrawingOptions): Html {
  const { frame, wrap } = options;
  const drawn = plot(view, cost, frame);
  const { x, y, points } = drawn;
  const marks = points.map((p) => wrap(p, mark(p, frame, y, view.result)));
  const corners = frontierCorners(points, view.result);
  const solid = [...points.flatMap((p) => marksOf(p, y)), ...boxesAlong(corners)];
  const before = baseline(view.result, frame, y, solid);
  const obstacles = before ? [...solid, before.note] : solid;
  return html`${axes(view, cost, drawn, options)}${limitLine(cost, frame, x)}${before?.drawn}
<path class="frontier" d="${linePath(corners)}"/>
${connectors(points)}${marks}${names(points, obstacles, options)}`;
}

function axes(view: View, cost: Cost, { x, y }: Plot, { frame, explain }: DrawingOptions): Html[] {
  const { metric } = view.result;
  const [arrow, word] = metric.direction === 'max' ? ['↑', 'higher'] : ['↓', 'lower'];
  const unit = cost.unit(x.domain[1]);
  const costName = unit.name === undefined ? cost.title : `${cost.title} (${unit.name})`;
  return [
    verticalAxis(frame, y, {
      tick: scoreTicks(y.ticks, metric),
      title: `${arrow} ${metricTitle(metric, view.perplexity !== undefined)}${explain ? `, ${word} is better` : ''}`,
    }),
    horizontalAxis(frame, x, {
      tick: costTicks(x.ticks, unit),
      title: `← ${costName}${explain ? ', less is better' : ''}`,
    }),
  ];
}

/** What may be spent at most. */
function limitLine({ limit }: Cost, frame: Frame, x: Scale): Html | undefined {
  if (limit === undefined || limit < x.domain[0] || limit > x.domain[1]) return undefined;
  const at = px(x.at(limit));
  return html`<path class="limit" d="M${at} ${frame.top}V${frame.height - frame.bottom}"/><text class="note" x="${at}" y="${frame.top - 4}" text-anchor="end">budget</text>`;
}

/** The score before training, where the axis reaches it; its name stands where the line is free, as far right as can be. */
function baseline(
  { baseline: value }: StudyResult,
  frame: Frame,
  y: Scale,
  solid: readonly Box[],
): { readonly drawn: Html; readonly note: Box } | undefined {
  if (value === undefined || value < y.domain[0] || value > y.domain[1]) return undefined;
  const at = y.at(value);
  const [start, end] = [frame.left, frame.width - frame.right];
  const size = { width: BEFORE.length * LETTER * NOTE, height: NOTE + 3 };
  const rows = [at - size.height - 2, at + 2].filter(
    (top) => top + size.height < frame.height - frame.bottom,
  );
  const steps = Array.from(
    { length: 20 },
    (_, i) => end - size.width - (i / 20) * (end - size.width - start),
  );
  const places = rows.flatMap((top) => steps.map((x): Box => ({ x, y: top, ...size })));
  const covered = places.map((box) => solid.reduce((sum, s) => sum + overlap(box, s), 0));
  const note = places[covered.indexOf(Math.min(...covered))];
  const drawn = html`<path class="baseline" d="M${start} ${px(at)}H${end}"/><text class="note" x="${px(note.x)}" y="${px(note.y + NOTE - 1)}">${BEFORE}</text>`;
  return { drawn, note };
}

const BEFORE = 'before training';
/** Size of notes, in the picture's units. */
const NOTE = 11.5;

/** Steps through the methods that none other beats on both quality and cost. */
function frontierCorners(points: readonly Point[], result: StudyResult): Place[] {
  const best = frontier(
    points.filter((p) => p.entry.decides && !p.off),
    (a, b) => isBetter(a, b, result),
  );
  return best.flatMap((p, i): Place[] => [...(i === 0 ? [] : [[p.x, best[i - 1].y] as const]), [p.x, p.y]]);
}

/** Thin boxes on the lines between corners, which go along the axes. */
function boxesAlong(corners: readonly Place[]): Box[] {
  return corners.slice(1).map(([x, y], i) => {
    const [fromX, fromY] = corners[i];
    const [left, top] = [Math.min(x, fromX), Math.min(y, fromY)];
    return { x: left - 1, y: top - 1, width: Math.abs(x - fromX) + 2, height: Math.abs(y - fromY) + 2 };
  });
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
  const interval =
    summary.interval && decides && !point.off ? whisker(point, summary.interval, frame, y) : undefined;
  const shape = point.off
    ? triangle(point, result)
    : decides
      ? html`<circle class="point${summary.amongBest && ' best'}" cx="${px(x)}" cy="${cy}" r="5.5"/>`
      : html`<rect class="point plain" x="${px(x - 3.5)}" y="${px(point.y - 3.5)}" width="7" height="7" transform="rotate(45 ${px(x)} ${cy})"/>`;
  return html`${interval}${shape}`;
}

/** Points beyond the axis's end, towards where the value is. */
function triangle({ x, y, entry }: Point, { metric }: StudyResult): Html {
  const down = metric.direction === 'max' ? 1 : -1;
  const d = `M${px(x - 5)} ${px(y - 4 * down)}h10l-5 ${9 * down}z`;
  return html`<path class="point off${!entry.decides && ' plain'}" d="${d}"/>`;
}

function whisker(point: Point, [low, high]: readonly [number, number], frame: Frame, y: Scale): Html {
  const { x } = point;
  const clamp = (at: number) => Math.min(frame.height - frame.bottom, Math.max(frame.top, at));
  const [from, to] = [clamp(y.at(low)), clamp(y.at(high))];
  const best = point.entry.summary.amongBest && ' best';
  return html`<path class="whisker${best}" d="M${px(x)} ${px(from)}V${px(to)}M${px(x - 3)} ${px(from)}h6M${px(x - 3)} ${px(to)}h6"/>`;
}

/** Names beside the points; the best keep theirs wherever it is crowded. */
function names(
  points: readonly Point[],
  obstacles: readonly Box[],
  { frame, text, nameAll }: DrawingOptions,
): Html[] {
  const rank = ({ entry }: Point) => (entry.recommended ? 0 : entry.summary.amongBest ? 1 : 2);
  const ordered = points.filter((p) => p.entry.decides).sort((a, b) => rank(a) - rank(b));
  const bounds: Box = {
    x: frame.left,
    y: frame.top - 8,
    width: frame.width - frame.left - frame.right + 8,
    height: frame.height - frame.top - frame.bottom + 8,
  };
  const wanted = ordered.map((p) => ({
    text: p.entry.summary.label,
    ...{ x: p.x, y: p.y },
    must: nameAll || p.entry.summary.amongBest,
  }));
  return placeLabels(wanted, obstacles, bounds, text).flatMap((place, i) => {
    if (!place) return [];
    const { method, amongBest } = ordered[i].entry.summary;
    const kind = html`name${amongBest && ' best'}${ordered[i].entry.recommended && ' recommended'}`;
    return [
      html`${leader(ordered[i], place)}<text class="${kind}" data-method="${method}" x="${px(place.x)}" y="${px(place.y)}" text-anchor="${place.anchor}">${place.text}</text>`,
    ];
  });
}

/** From the edge of a point to its name. */
function leader({ x, y }: Point, { leader: end }: Placed): Html | undefined {
  if (!end) return undefined;
  const [dx, dy] = [end[0] - x, end[1] - y];
  const share = 7 / Math.hypot(dx, dy);
  return html`<path class="leader" d="${linePath([[x + share * dx, y + share * dy], end])}"/>`;
}

/** What no name may cover: a point and its interval. */
function marksOf(p: Point, y: Scale): Box[] {
  const point = { x: p.x - 5, y: p.y - 5, width: 10, height: 10 };
  const { interval } = p.entry.summary;
  if (!p.entry.decides || !interval || p.off) return [point];
  const [a, b] = interval.map((v) => y.at(v));
  return [point, { x: p.x - 1, y: Math.min(a, b), width: 2, height: Math.abs(a - b) }];
}
