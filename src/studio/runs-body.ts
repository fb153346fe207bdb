import type { Curve } from '../studies/index.ts';
import { type Frame, linePath } from '../studies/report/axes.ts';
import { type Html, html } from '../studies/report/index.ts';
import { linearScale, px, tightScale } from '../studies/report/scale.ts';
import type { LiveRun } from './live-runs.ts';

const FRAME: Frame = { width: 320, height: 130, left: 36, right: 8, top: 8, bottom: 20 };

/** Curves of the runs that go on now, and the list of all. */
export function runsBody(runs: readonly LiveRun[]): Html | undefined {
  if (runs.length === 0) return undefined;
  const running = runs.filter((r) => r.state === 'running');
  return html`${running.length > 0 && html`<div class="panels live">${running.map(livePanel)}</div>`}
<details id="run-list"><summary>${runs.length} ${runs.length === 1 ? 'run' : 'runs'} so far, trials too</summary><div class="scroll" tabindex="0" role="region" aria-label="Runs"><table><thead><tr><th scope="col">Method</th><th scope="col" class="number">Seed</th><th scope="col" class="number">Rate</th><th scope="col">State</th><th scope="col">Folder</th></tr></thead><tbody>${runs.map(row)}</tbody></table></div></details>`;
}

function row({ method, seed, rate, state, reason, name }: LiveRun): Html {
  return html`<tr><th scope="row">${method}</th><td class="number">${seed}</td><td class="number">${rate}</td><td><span class="state ${state}">${state}</span>${reason !== undefined && html` <small class="bad">${reason}</small>`}</td><td><code>runs/${name}</code></td></tr>`;
}

function livePanel(run: LiveRun): Html {
  const { method, seed, total, curves } = run;
  const training = curves.find((c) => c.name === 'train/loss');
  const step = training?.steps.at(-1) ?? 0;
  const loss = training?.values.at(-1);
  const place = `update ${step}${total === undefined ? '' : ` of ${total}`}`;
  return html`<figure class="panel"><figcaption><b>${method}</b><small>seed ${seed}, rate ${run.rate}</small></figcaption>
${curves.length > 0 && picture(run, curves)}<p class="place">${total !== undefined && html`<progress max="${total}" value="${step}" aria-label="Updates"></progress>`}<small>${place}${loss !== undefined && `, loss ${loss.toFixed(3)}`}</small></p></figure>`;
}

function picture({ method, total }: LiveRun, curves: readonly Curve[]): Html {
  const last = Math.max(total ?? 0, ...curves.flatMap((c) => c.steps), 1);
  const values = curves.flatMap((c) => c.values);
  const x = tightScale(0, last, [FRAME.left, FRAME.width - FRAME.right], 4);
  const y = linearScale(
    Math.min(...values),
    Math.max(...values),
    [FRAME.height - FRAME.bottom, FRAME.top],
    3,
  );
  const rules = y.ticks.map(
    (v) =>
      html`<path class="rule" d="M${FRAME.left} ${px(y.at(v))}H${FRAME.width - FRAME.right}"/><text x="${FRAME.left - 5}" y="${px(y.at(v))}" dy="0.32em" text-anchor="end">${v}</text>`,
  );
  const ticks = x.ticks.map(
    (v) => html`<text x="${px(x.at(v))}" y="${FRAME.height - 4}" text-anchor="middle">${v}</text>`,
  );
  const lines = curves.map(({ name, steps, values: own }) => {
    const kind = name === 'eval/loss' ? 'validation' : 'training';
    return html`<path class="curve ${kind}" d="${linePath(steps.map((s, i) => [x.at(s), y.at(own[i])] as const))}"/>`;
  });
  return html`<svg viewBox="0 0 ${FRAME.width} ${FRAME.height}" role="img" aria-label="${`Loss of ${method} so far`}"><g class="axis">${rules}${ticks}</g>${lines}</svg>`;
}
