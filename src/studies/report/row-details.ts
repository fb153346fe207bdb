import type { ReplayRecord, StudyRun } from '../results.ts';
import { bytes, score, seconds, setting } from './format.ts';
import { type Html, html } from './html.ts';
import { recipeYaml } from './recipe.ts';
import type { TableOptions } from './table.ts';
import type { Entry, View } from './view.ts';

/** What opens below a row: chosen settings, and for each seed how it went, its recipe and how to run it again. */
export function rowDetails(view: View, { summary, id }: Entry, { replay }: TableOptions): Html {
  const chosen = Object.entries(summary.settings);
  const list = chosen.map(([path, value]) => html`<dt>${path}</dt><dd>${setting(value)}</dd>`);
  return html`<div class="inner">${chosen.length > 0 && html`<dl class="settings" aria-label="Settings that tuning chose">${list}</dl>`}
${summary.runs.map((run) => runDetails(view, run, `${id}-${run.seed}`, replay))}</div>`;
}

function runDetails(view: View, run: StudyRun, id: string, replay: TableOptions['replay']): Html {
  const { metric } = view.result;
  const { measured, scores, reason, state } = run;
  const own = scores?.find((s) => s.metric === metric.name) ?? scores?.[0];
  const facts = [
    own && score(own.mean, { name: own.metric }),
    measured && bytes(measured.peakMemory),
    measured && `${seconds(measured.wall)}, ${seconds(measured.processor)} of processors`,
  ].filter((f) => f !== undefined);
  const command = replay(run.folder);
  return html`<article class="run"><h3>Seed ${run.seed} <span class="state ${state}">${state.replaceAll('-', ' ')}</span> ${replayed(view.replay(run))}<small>${facts.join(' · ')}</small></h3>
${reason !== undefined && html`<p class="reason">${reason}</p>`}
<p class="command"><code>${command}</code><button type="button" class="copy" data-copy="previous" aria-label="Copy the command">Copy</button></p>
<details id="${id}-recipe"><summary>Recipe</summary><div class="code"><button type="button" class="copy" data-copy="next" aria-label="Copy the recipe">Copy</button><pre tabindex="0"><code>${recipeYaml(run)}</code></pre></div></details></article>`;
}

/** Whether the run gave the same bytes again, and when that was tried. */
function replayed(record: ReplayRecord | undefined): Html | undefined {
  if (!record) return undefined;
  const { same, date, firstDifference } = record;
  const [metric] = Object.keys(firstDifference);
  const first = metric === undefined ? '' : `, ${metric} from example ${firstDifference[metric] + 1} on`;
  const text = same ? 'replayed: same bytes' : `replayed: other bytes${first}`;
  return html`<span class="state${!same && ' failed'}" title="${date.slice(0, 10)}">${text}</span> `;
}
