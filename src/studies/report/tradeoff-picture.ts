import { metricName } from '../naming.ts';
import type { Frame } from './axes.ts';
import type { Cost } from './costs.ts';
import { type Html, html } from './html.ts';
import { tradeoffDrawing } from './tradeoff-drawing.ts';
import type { Point } from './tradeoff-points.ts';
import { factsOf, type View } from './view.ts';

const FRAMES: Readonly<Record<'wide' | 'narrow', Frame>> = {
  wide: { width: 920, height: 480, left: 58, right: 18, top: 34, bottom: 50 },
  narrow: { width: 370, height: 430, left: 48, right: 12, top: 34, bottom: 50 },
};

/** One cost's picture in a page, drawn for wide ones or for phones. */
export function tradeoffPicture(
  view: View,
  cost: Cost,
  { shape, isHidden }: { readonly shape: 'wide' | 'narrow'; readonly isHidden: boolean },
): Html {
  const frame = FRAMES[shape];
  const drawing = tradeoffDrawing(view, cost, {
    ...{ frame, text: 12, nameAll: false, explain: false },
    wrap: (point, marks) => told(point, marks, view),
  });
  return html`<svg class="${shape}" data-cost="${cost.id}"${isHidden && html` hidden`} viewBox="0 0 ${frame.width} ${frame.height}" role="group" aria-label="${`${metricName(view.result.metric)} against ${cost.title}`}">
${drawing}</svg>`;
}

/** Marks that say what they are, under the pointer, with the keyboard and to readers of screens. */
function told({ entry }: Point, marks: Html, view: View): Html {
  const facts = factsOf(entry, view);
  return html`<g class="mark" tabindex="0" role="img" data-method="${entry.summary.method}" data-title="${entry.name}" data-tip="${facts.join('\n')}" aria-label="${`${entry.name}: ${facts.join(', ')}`}">${marks}</g>`;
}
