import type { MethodSummary, StudyResult } from '../results.ts';
import { bytes, shortCount, shortSeconds } from './format.ts';
import { type Html, html } from './html.ts';
import { qualityAxis, tradeoffPicture } from './tradeoff-picture.ts';
import type { View } from './view.ts';

/** What a method costs: one horizontal axis of the picture. */
export interface Cost {
  readonly id: 'trainable' | 'memory' | 'time';
  readonly title: string;
  of(summary: MethodSummary): number | undefined;
  readonly tick: (value: number) => string;
  readonly limit?: number;
}

/** Quality against cost, one picture for each cost that was measured. */
export function tradeoff(view: View): Html | undefined {
  const costs = costsOf(view.result).filter((cost) => pointsOf(view, cost).length > 1);
  if (costs.length === 0) return undefined;
  const first = firstCost(view, costs);
  const switches = costs.map(
    (cost) =>
      html`<label><input type="radio" name="cost" value="${cost.id}"${cost === first && html` checked`}><span>${cost.title}</span></label>`,
  );
  const pictures = costs.flatMap((cost) =>
    (['wide', 'narrow'] as const).map((shape) =>
      tradeoffPicture(view, cost, { shape, isHidden: cost !== first }),
    ),
  );
  return html`<section id="tradeoff"><h2>Quality against cost</h2>
<p class="lead">${lead(view)}</p>
<div class="controls"><fieldset class="segmented" data-group="cost"><legend>Cost</legend>${switches}</fieldset></div>
<figure class="picture tradeoff">${pictures}
${legend(view)}</figure></section>`;
}

function lead({ result, entries }: View): string {
  const better = result.metric.direction === 'max' ? 'Up' : 'Down';
  const bars = entries.some((e) => e.summary.interval)
    ? '; bars are 95 % intervals over seeds and test examples'
    : '';
  return `${better} and to the left is better. The line joins the methods that none other beats on both${bars}.`;
}

function legend(view: View): Html {
  const { both, entries } = view;
  const isBest = entries.some((e) => e.summary.amongBest);
  const mark = (body: Html) =>
    html`<svg width="18" height="14" viewBox="0 0 18 14" aria-hidden="true">${body}</svg>`;
  return html`<figcaption class="legend">${isBest && html`<span>${mark(html`<circle class="point best" cx="9" cy="7" r="5"/>`)}cannot be told from the best</span>`}
<span>${mark(html`<circle class="point" cx="9" cy="7" r="5"/>`)}${isBest ? 'other methods' : 'methods'}</span>
${qualityAxis(view).anyOff && html`<span>${mark(html`<path class="point off" d="M4 3h10l-5 9z"/>`)}beyond the scale</span>`}
${both && html`<span>${mark(html`<rect class="point plain" x="5.5" y="3.5" width="7" height="7" transform="rotate(45 9 7)"/>`)}default settings, joined to the tuned ones</span>`}</figcaption>`;
}

function costsOf({ budget }: StudyResult): Cost[] {
  return [
    { id: 'memory', title: 'peak memory', of: (m) => m.peakMemory, tick: bytes, limit: budget.memory },
    { id: 'time', title: 'time', of: (m) => m.seconds, tick: shortSeconds, limit: budget.time },
    {
      id: 'trainable',
      title: 'trained numbers',
      of: (m) => m.trainable,
      tick: shortCount,
      limit: budget.trainable,
    },
  ];
}

/** The first cost in which methods differ: all spend the same of the budget itself. */
function firstCost(view: View, costs: readonly Cost[]): Cost {
  const spread = (cost: Cost) => {
    const values = pointsOf(view, cost);
    return Math.max(...values) / Math.min(...values);
  };
  return costs.find((cost) => spread(cost) > 1.1) ?? costs[0];
}

function pointsOf({ entries }: View, cost: Cost): number[] {
  return entries
    .filter(({ summary }) => summary.mean !== undefined)
    .map(({ summary }) => cost.of(summary))
    .filter((x) => x !== undefined && x > 0) as number[];
}
