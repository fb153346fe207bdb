import { metricName } from '../naming.ts';
import type { StudyResult } from '../results.ts';
import { bytes, count, difference, range, score, seconds } from './format.ts';
import { type Html, html } from './html.ts';
import { distinction, type View } from './view.ts';

/** The answer in words, what it costs, and what is not claimed. */
export function verdictSection(view: View): Html {
  const { result } = view;
  const { verdict, caveats } = result;
  return html`<section id="verdict" class="verdict"><p class="question">${result.question || result.name}</p>
<h1>${verdict.headline}</h1>
${verdict.details.map((text) => html`<p class="detail">${text}</p>`)}
${progress(result)}${tiles(view)}
${verdict.smallPrint !== undefined && html`<p class="small-print">${verdict.smallPrint}</p>`}
${caveats.length > 0 && html`<div class="caveats"><h2>What is not claimed</h2><ul>${caveats.map((c) => html`<li>${c}</li>`)}</ul></div>`}</section>`;
}

function progress({ progress: { done, total } }: StudyResult): Html | undefined {
  if (done >= total) return undefined;
  return html`<p class="progress"><progress max="${total}" value="${done}" aria-label="Runs that have ended"></progress><span>${done} of ${total} runs</span></p>`;
}

/** What the recommended method reaches and costs. */
function tiles(view: View): Html | undefined {
  const { entries, result, perplexity } = view;
  const entry = entries.find((e) => e.recommended);
  if (!entry) return undefined;
  const { mean, interval, trainable, peakMemory, size, forgetting, seconds: time } = entry.summary;
  const { metric, baseline } = result;
  const before = baseline === undefined ? undefined : `before training ${score(baseline, metric)}`;
  const tile = (title: string, value: string | undefined, ...notes: (string | undefined)[]) =>
    value !== undefined &&
    html`<div><dt>${title}</dt><dd>${value}${notes.map((n) => n !== undefined && html`<small>${n}</small>`)}</dd></div>`;
  const of = <T>(value: T | undefined, show: (value: T) => string) =>
    value === undefined ? undefined : show(value);
  return html`<h2 class="unseen">What ${entry.summary.label} reaches and costs</h2><dl class="tiles">${[
    tile(distinction(view), entry.summary.label, `${entry.summary.treatment} settings`),
    tile(
      metricName(metric),
      of(mean, (m) => score(m, metric)),
      of(interval, (i) => range(i, metric)) ?? before,
      perplexity && of(mean, (m) => `perplexity ${perplexity(m)}`),
    ),
    tile('trained numbers', of(trainable, count)),
    tile('peak memory', of(peakMemory, bytes), 'measured'),
    tile('computing time of a run', of(time, seconds)),
    tile('on disk', of(size, bytes)),
    tile(
      'forgetting',
      of(forgetting, (f) => difference(f, { name: 'loss' })),
      'loss on general text',
    ),
  ]}</dl>`;
}
