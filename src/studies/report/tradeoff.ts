import { costsOf, firstCost } from './costs.ts';
import { type Html, html } from './html.ts';
import { tradeoffPicture } from './tradeoff-picture.ts';
import { qualityAxis } from './tradeoff-points.ts';
import type { View } from './view.ts';

/** Quality against cost, one picture for each cost that was measured. */
export function tradeoff(view: View): Html | undefined {
  const costs = costsOf(view);
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
