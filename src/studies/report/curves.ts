import type { Curve, StudyRun } from '../results.ts';
import { type Frame, linePath } from './axes.ts';
import { type Html, html } from './html.ts';
import { linearScale, outerFence, px, type Scale, tightScale } from './scale.ts';
import { distinction, type Entry, type View } from './view.ts';

const FRAME: Frame = { width: 260, height: 164, left: 34, right: 8, top: 10, bottom: 22 };
const LOSSES = ['train/loss', 'eval/loss'] as const;

interface Lines {
  readonly run: StudyRun;
  readonly training?: Curve;
  readonly validation?: Curve;
}

interface Axes {
  readonly x: Scale;
  readonly y: Scale;
  /** Validation of the recommended method: a mark to hold others against. */
  readonly reference?: Curve;
}

/** Training and validation loss of every method, each in a panel with the same axes. */
export function learningCurves(view: View): Html | undefined {
  const panels = view.entries
    .map((entry) => ({ entry, lines: linesOf(view, entry) }))
    .filter(({ lines }) => lines.length > 0);
  if (panels.length === 0) return undefined;
  const recommended = panels.find(({ entry }) => entry.recommended);
  const axes = { ...axesOf(panels.flatMap((p) => p.lines)), reference: middle(recommended?.lines ?? []) };
  return html`<section id="curves"><h2>Learning curves</h2>
<p class="lead">Loss over updates, one thin line for each seed, the same axes everywhere.${
    axes.reference && html` Dashed: validation of ${recommended?.entry.summary.label} in its median seed.`
  }</p>
<div class="controls">${settingsSwitch(view, 'curves')}<p class="legend"><span><i class="swatch validation"></i>validation</span><span><i class="swatch training"></i>training</span></p></div>
<div class="panels">${panels.map(({ entry, lines }) => panel(entry, lines, axes, distinction(view)))}</div></section>`;
}

/** Which treatment the panels and bars show. */
export function settingsSwitch({ both, decisive }: View, place: string): Html | undefined {
  if (!both) return undefined;
  const option = (value: string, text: string) =>
    html`<label><input type="radio" name="settings-${place}" value="${value}"${value === decisive && html` checked`}><span>${text}</span></label>`;
  return html`<fieldset class="segmented" data-group="settings"><legend>Settings</legend>${option('tuned', 'tuned')}${option('default', 'default')}</fieldset>`;
}

function linesOf(view: View, { summary }: Entry): Lines[] {
  return summary.runs.flatMap((run): Lines[] => {
    const [training, validation] = LOSSES.map((name) =>
      finite(view.curves(run).find((c) => c.name === name)),
    );
    return training || validation ? [{ run, training, validation }] : [];
  });
}

/** Without values that cannot be drawn; undefined where none is left. */
function finite(curve: Curve | undefined): Curve | undefined {
  if (!curve) return undefined;
  const kept = curve.steps.map((_, i) => i).filter((i) => Number.isFinite(curve.values[i]));
  if (kept.length === 0) return undefined;
  return {
    name: curve.name,
    steps: kept.map((i) => curve.steps[i]),
    values: kept.map((i) => curve.values[i]),
  };
}

function axesOf(lines: readonly Lines[]): Axes {
  const curves = lines
    .flatMap(({ training, validation }) => [training, validation])
    .filter((c) => c !== undefined);
  const last = Math.max(...curves.map((c) => c.steps.at(-1) as number));
  const values = curves.flatMap((c) => c.values);
  const highest = Math.min(Math.max(...values), outerFence(values, 'above'));
  return {
    x: tightScale(0, last, [FRAME.left, FRAME.width - FRAME.right], 3),
    y: linearScale(Math.min(...values), highest, [FRAME.height - FRAME.bottom, FRAME.top], 4),
  };
}

/** The validation curve that ends in the middle. */
function middle(lines: readonly Lines[]): Curve | undefined {
  const curves = lines.flatMap((l) => (l.validation ? [l.validation] : []));
  const end = (c: Curve) => c.values.at(-1) as number;
  return curves.sort((a, b) => end(a) - end(b))[Math.floor((curves.length - 1) / 2)];
}

function panel(
  { summary, id, recommended, decides }: Entry,
  lines: readonly Lines[],
  axes: Axes,
  badge: string,
): Html {
  const ended = lines.filter((l) => l.run.state === 'diverged').length;
  const note = ended > 0 ? `${ended} diverged` : '';
  const clip = `clip-${id}`;
  return html`<figure class="panel" data-method="${summary.method}" data-treatment="${summary.treatment}"${!decides && html` hidden`}>
<figcaption><b>${summary.label}</b>${recommended && html` <span class="badge">${badge}</span>`}<small>${note}</small></figcaption>
<svg viewBox="0 0 ${FRAME.width} ${FRAME.height}" role="img" aria-label="${description(summary.label, lines)}">
<clipPath id="${clip}"><rect x="${FRAME.left}" y="${FRAME.top - 2}" width="${FRAME.width - FRAME.left}" height="${FRAME.height - FRAME.top - FRAME.bottom + 4}"/></clipPath>
${axisMarks(axes)}<g clip-path="url(#${clip})">${curve(axes.reference, 'reference', axes)}${lines.map((l) => curve(l.training, 'training', axes))}${lines.map((l) => curve(l.validation, 'validation', axes))}</g></svg></figure>`;
}

function description(label: string, lines: readonly Lines[]): string {
  const ends = lines
    .map(({ run, training, validation }) => {
      const last = (validation ?? training)?.values.at(-1) as number;
      return `seed ${run.seed} ends at ${last.toFixed(3)}`;
    })
    .join(', ');
  return `Loss over updates of ${label}: ${ends}.`;
}

function axisMarks({ x, y }: Axes): Html {
  const base = FRAME.height - FRAME.bottom;
  const rules = y.ticks.map((v) => {
    const at = px(y.at(v));
    return html`<path class="rule" d="M${FRAME.left} ${at}H${FRAME.width - FRAME.right}"/><text x="${FRAME.left - 5}" y="${at}" dy="0.32em" text-anchor="end">${v}</text>`;
  });
  const steps = x.ticks.map((v, i) => {
    const anchor = i === 0 ? 'start' : i === x.ticks.length - 1 ? 'end' : 'middle';
    return html`<text x="${px(x.at(v))}" y="${base + 15}" text-anchor="${anchor}">${v}</text>`;
  });
  return html`<g class="axis">${rules}${steps}</g>`;
}

function curve(data: Curve | undefined, kind: string, { x, y }: Axes): Html | undefined {
  if (!data) return undefined;
  const points = data.steps.map((step, i) => [x.at(step), y.at(data.values[i])] as const);
  return html`<path class="curve ${kind}" d="${linePath(points)}"/>`;
}
