import type { Curve, StudyRun } from '../results.ts';
import { settingsSwitch } from './curves.ts';
import { type Html, html } from './html.ts';
import { px } from './scale.ts';
import type { Entry, View } from './view.ts';

/** Ranks of a run as a method reports them: `increlora/rank/<layer>`. */
const LAYER_RANK = /^[^/]+\/rank\/(.+)$/;
/** One rank for all layers, or live ranks of all together: `dylora/rank`, `adalora/live`. */
const TOTAL_RANK = /^([^/]+)\/(rank|live)$/;

const WIDTH = 600;
const ROW = 10;

/** Ranks over time of the methods that move them: a row for each layer, darker for higher ranks. */
export function ranks(view: View): Html | undefined {
  const figures = view.entries.flatMap((entry) => {
    const run = entry.summary.runs.find((r) => rankCurves(view, r).length > 0);
    return run ? [figure(entry, run, rankCurves(view, run))] : [];
  });
  if (figures.length === 0) return undefined;
  return html`<section id="ranks"><h2>Ranks over time</h2>
<p class="lead">Methods that move ranks while they learn. One row for each layer, from the first update to the last; darker is higher, the number at the right is the rank at the end.</p>
<div class="controls">${settingsSwitch(view, 'ranks')}</div><div class="rank-maps">${figures}</div></section>`;
}

function rankCurves(view: View, run: StudyRun): Curve[] {
  return view
    .curves(run)
    .filter((c) => c.steps.length > 0 && (LAYER_RANK.test(c.name) || TOTAL_RANK.test(c.name)));
}

function figure({ summary, name, decides }: Entry, run: StudyRun, curves: readonly Curve[]): Html {
  const layers = curves.filter((c) => LAYER_RANK.test(c.name));
  const rows = layers.length > 0 ? layers : curves;
  const names = shortened(rows.map((c) => LAYER_RANK.exec(c.name)?.[1] ?? totalName(c.name)));
  const highest = Math.max(...rows.flatMap((c) => c.values), 1);
  const last = Math.max(...rows.map((c) => c.steps.at(-1) as number));
  const lines = rows.map(
    (curve, i) =>
      html`<span class="layer" title="${LAYER_RANK.exec(curve.name)?.[1] ?? curve.name}">${names[i]}</span>${cells(curve, last, highest)}<span class="number">${final(curve)}</span>`,
  );
  const summaryText = rows.map((c, i) => `${names[i]} ${c.values[0]} to ${final(c)}`).join(', ');
  return html`<figure data-method="${summary.method}" data-treatment="${summary.treatment}"${!decides && html` hidden`}><figcaption><b>${summary.label}</b><small>seed ${run.seed}, ${last} updates, highest rank ${highest}</small></figcaption>
<div class="rank-map" role="img" aria-label="${`Ranks of ${name}: ${summaryText}.`}">${lines}</div></figure>`;
}

function totalName(curve: string): string {
  return TOTAL_RANK.exec(curve)?.[2] === 'live' ? 'all layers together' : 'all layers';
}

function final(curve: Curve): number {
  return curve.values.at(-1) as number;
}

/** A row of cells; equal ones that touch are one. */
function cells({ steps, values }: Curve, last: number, highest: number): Html {
  const starts = steps.map((_, i) => i).filter((i) => i === 0 || values[i] !== values[i - 1]);
  const at = (step: number) => (last === 0 ? 0 : (step / last) * WIDTH);
  const rects = starts.map((i, k) => {
    const from = k === 0 ? 0 : at(steps[i]);
    const to = k + 1 < starts.length ? at(steps[starts[k + 1]]) : WIDTH;
    const strength = 0.06 + 0.94 * (values[i] / highest);
    return html`<rect x="${px(from)}" width="${px(to - from)}" height="${ROW}" fill-opacity="${strength.toFixed(2)}"/>`;
  });
  return html`<svg viewBox="0 0 ${WIDTH} ${ROW}" preserveAspectRatio="none" aria-hidden="true">${rects}</svg>`;
}

/** Names without the parts at either end that all share: `model.layers.0.q_proj` → `0.q_proj`. */
export function shortened(names: readonly string[]): string[] {
  const parts = names.map((name) => name.split('.'));
  const shortest = Math.min(...parts.map((p) => p.length)) - 1;
  const same = (pick: (p: readonly string[]) => string) => parts.every((p) => pick(p) === pick(parts[0]));
  let head = 0;
  while (head < shortest && same((p) => p[head])) head++;
  let tail = 0;
  while (tail < shortest - head && same((p) => p[p.length - 1 - tail])) tail++;
  return parts.map((p) => p.slice(head, p.length - tail).join('.'));
}
