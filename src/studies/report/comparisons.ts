import type { Comparison, MethodSummary } from '../results.ts';
import { difference, probability, range } from './format.ts';
import { type Html, html } from './html.ts';
import { type Entry, isBetter, type View } from './view.ts';

const SIGNIFICANT = 0.05;
/** Methods beyond which a square is drawn closer. */
const WIDE = 12;

/** Every pair on the same test examples: as a square, and as a list. */
export function comparisons(view: View): Html | undefined {
  if (view.result.comparisons.length === 0) return undefined;
  const treatments = view.both ? (['tuned', 'default'] as const) : [view.decisive];
  return html`<section id="comparisons"><h2>Pairs</h2>
<p class="lead">Difference of the row’s method to the column’s, on the same seeds and test examples${view.result.metric.name === 'loss' ? '' : ', in percentage points'}. Coloured: told apart at 5 % after Holm’s correction for all pairs of the same settings. <span class="better">▲ better</span> <span class="worse">▼ worse</span></p>
${treatments.map((t) => square(view, t))}
<details class="all-pairs" id="all-pairs"><summary>All ${view.result.comparisons.length} pairs with intervals and p values</summary>${list(view)}</details></section>`;
}

function square(view: View, treatment: MethodSummary['treatment']): Html | undefined {
  const pairs = new Map(view.result.comparisons.map((c) => [`${c.a}\n${c.b}`, c]));
  const isThere = ({ name }: Entry) => view.result.comparisons.some((c) => c.a === name || c.b === name);
  const entries = view.entries.filter((e) => e.summary.treatment === treatment && isThere(e));
  if (entries.length === 0) return undefined;
  const heads = entries.map(
    ({ summary: { label } }) => html`<th scope="col" title="${label}"><span>${label}</span></th>`,
  );
  const rows = entries.map(
    (a) =>
      html`<tr><th scope="row">${a.summary.label}</th>${entries.map((b) => cell(view, a, b, pairs))}</tr>`,
  );
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${`Pairs of ${treatment} settings`}"><table class="square${entries.length > WIDE && ' dense'}"><caption>${treatment} settings</caption><thead><tr><td></td>${heads}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

function cell(view: View, a: Entry, b: Entry, pairs: ReadonlyMap<string, Comparison>): Html {
  const [straight, turned] = [pairs.get(`${a.name}\n${b.name}`), pairs.get(`${b.name}\n${a.name}`)];
  const pair = straight ?? turned;
  if (!pair) return html`<td class="same">·</td>`;
  const value = straight ? pair.difference : -pair.difference;
  const kind = verdict(pair.corrected, value, view);
  const sign = { better: '▲', worse: '▼', alike: '' }[kind];
  const hint = `${a.summary.label} − ${b.summary.label}: ${difference(value, view.result.metric)}, corrected p ${probability(pair.corrected)}`;
  return html`<td class="${kind}" title="${hint}"><i>${sign}</i>${difference(value, view.result.metric)}</td>`;
}

function verdict(corrected: number, value: number, { result }: View): 'better' | 'worse' | 'alike' {
  if (corrected >= SIGNIFICANT) return 'alike';
  return isBetter(value, 0, result) ? 'better' : 'worse';
}

function list({ result }: View): Html {
  const sorted = [...result.comparisons].sort((a, b) => a.corrected - b.corrected);
  const rows = sorted.map(
    (c) =>
      html`<tr><th scope="row">${c.a}</th><td>${c.b}</td><td class="number">${difference(c.difference, result.metric)}</td><td class="number">${range(c.interval, result.metric)}</td><td class="number">${probability(c.p)}</td><td class="number">${probability(c.corrected)}</td></tr>`,
  );
  return html`<div class="scroll" tabindex="0" role="region" aria-label="All pairs"><table class="pairs"><thead><tr><th scope="col">a</th><th scope="col">b</th><th scope="col" class="number">a − b</th><th scope="col" class="number">95 % interval</th><th scope="col" class="number">p</th><th scope="col" class="number">corrected</th></tr></thead><tbody>${rows}</tbody></table></div>`;
}
