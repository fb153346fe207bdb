import { settingsSwitch } from './curves.ts';
import { bytes, signed } from './format.ts';
import { type Html, html } from './html.ts';
import type { Entry, View } from './view.ts';

/** Peak memory of every method: predicted before the run, measured from outside it. */
export function memoryBars(view: View): Html | undefined {
  const entries = view.entries.filter(
    ({ summary }) => summary.peakMemory !== undefined || summary.predictedMemory !== undefined,
  );
  if (entries.length === 0) return undefined;
  const limit = view.result.budget.memory;
  const values = entries.flatMap(({ summary: s }) => [s.peakMemory ?? 0, s.predictedMemory ?? 0]);
  const most = Math.max(...values, limit ?? 0) * 1.02;
  return html`<section id="memory"><h2>Peak memory</h2>
<p class="lead">${accuracy(entries)}${limit !== undefined && ` The upright line is the budget of ${bytes(limit)}.`}</p>
<div class="controls">${settingsSwitch(view, 'memory')}<p class="legend"><span><i class="swatch measured"></i>measured</span><span><i class="swatch predicted"></i>predicted</span></p></div>
<div class="bars">${entries.map((entry) => bars(entry, most, limit))}</div></section>`;
}

function accuracy(entries: readonly Entry[]): string {
  const errors = entries.flatMap(({ summary: { peakMemory, predictedMemory } }) =>
    peakMemory && predictedMemory ? [predictedMemory / peakMemory - 1] : [],
  );
  if (errors.length === 0) return 'Resident memory of the whole process at its highest.';
  const close = errors.filter((e) => Math.abs(e) <= 0.1).length;
  return `Resident memory of the whole process at its highest. Predicted within 10 % of what was measured: ${close} of ${errors.length}; the small number tells how far off the prediction is.`;
}

function bars({ summary, decides, name }: Entry, most: number, limit: number | undefined): Html {
  const { peakMemory, predictedMemory } = summary;
  const off = peakMemory && predictedMemory ? `${signed(100 * (predictedMemory / peakMemory - 1), 0)} %` : '';
  const text = [
    peakMemory === undefined ? 'not measured' : `measured ${bytes(peakMemory)}`,
    predictedMemory === undefined ? 'not predicted' : `predicted ${bytes(predictedMemory)}`,
  ];
  const bar = (kind: string, value: number | undefined) =>
    value !== undefined && html`<i class="${kind}" style="width:${share(value, most)}"></i>`;
  return html`<div class="bar-row" data-method="${summary.method}" data-treatment="${summary.treatment}"${!decides && html` hidden`} tabindex="0" role="img" aria-label="${`${name}: ${text.join(', ')}`}" data-title="${name}" data-tip="${text.join('\n')}">
<span class="bar-label">${summary.label}</span><span class="bar-track">${bar('measured', peakMemory)}${bar('predicted', predictedMemory)}${limit !== undefined && html`<i class="limit" style="left:${share(limit, most)}"></i>`}</span>
<span class="number">${peakMemory !== undefined && bytes(peakMemory)}<small>${off}</small></span></div>`;
}

function share(value: number, most: number): string {
  return `${((100 * value) / most).toFixed(1)}%`;
}
