import type { PlanRow } from '../results.ts';
import { bytes, count, settings } from './format.ts';
import { type Html, html } from './html.ts';
import type { View } from './view.ts';

/** What was planned under the budget, and what the numbers were made with. */
export function provenance(view: View): Html {
  const { result } = view;
  const budget = Object.entries(result.budget).map(([name, value]) => budgetText(name, value));
  const run = result.methods.flatMap((m) => m.runs)[0];
  const facts: [string, string | undefined][] = [
    ['Budget', budget.join(', ') || 'none: every method has its own settings'],
    ['Seeds', result.seeds.join(', ')],
    ['Runs', `${result.progress.done} of ${result.progress.total}`],
    ['Machine', result.hardware],
    ['Threads', run && String(run.hardware.threads)],
    [
      'Versions',
      run &&
        Object.entries(run.versions)
          .map(([name, v]) => `${name} ${v}`)
          .join(', '),
    ],
    ['Model', run?.modelHash && `sha256 ${run.modelHash}`],
    ['Data', run?.dataHash && `sha256 ${run.dataHash}`],
  ];
  const list = facts.map(
    ([term, text]) => text !== undefined && html`<div><dt>${term}</dt><dd>${text}</dd></div>`,
  );
  return html`<section id="plan"><h2>Budget and conditions</h2><dl class="facts">${list}</dl>${plan(result.plan)}</section>`;
}

function budgetText(name: string, value: number): string {
  if (name === 'memory') return `${bytes(value)} of peak memory`;
  if (name === 'time') return `${value} s of training`;
  return name === 'trainable' ? `${count(value)} trained numbers` : `${count(value)} ${name}`;
}

function plan(rows: readonly PlanRow[]): Html | undefined {
  if (rows.length === 0) return undefined;
  const left = rows.filter((r) => !r.fits).length;
  const lines = rows.map(
    (r) =>
      html`<tr${!r.fits && html` class="left-out"`}><th scope="row">${r.label}</th><td>${r.fits ? 'fits' : html`<span class="bad">left out</span>`}</td><td>${settings(r.chosen)}</td><td class="number">${r.trainable !== undefined && count(r.trainable)}</td><td class="number">${r.predictedMemory !== undefined && bytes(r.predictedMemory)}</td><td class="number">${r.steps !== undefined && count(r.steps)}</td><td>${r.reason}</td></tr>`,
  );
  return html`<details id="plan-table"${left > 0 && html` open`}><summary>The plan: ${rows.length - left} of ${rows.length} methods fit</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Plan"><table class="plan"><thead><tr><th scope="col">Method</th><th scope="col"></th><th scope="col">Chosen</th><th scope="col" class="number">Trained</th><th scope="col" class="number">Predicted peak</th><th scope="col" class="number">Updates</th><th scope="col">Reason</th></tr></thead><tbody>${lines}</tbody></table></div></details>`;
}
