import type { StudyResult } from '../results.ts';
import type { Frame } from './axes.ts';
import { costsOf, firstCost } from './costs.ts';
import { type Html, html, raw } from './html.ts';
import { LETTER } from './labels.ts';
import { asset } from './page.ts';
import { px } from './scale.ts';
import { tradeoffDrawing } from './tradeoff-drawing.ts';
import { qualityAxis } from './tradeoff-points.ts';
import { factsOf, type View, viewOf } from './view.ts';

const WIDTH = 800;
const MARGIN = 24;
const AREA = { left: 66, right: MARGIN, height: 350 } as const;
/** Above the drawing for the axis's name, below it for ticks and name. */
const [ABOVE, BELOW] = [44, 56];
interface Type {
  readonly size: number;
  /** From one line to the next. */
  readonly line: number;
  /** Width of a letter by the size. */
  readonly letter: number;
}

/** Bold letters are wider than those of names, long texts have narrow ones among them. */
const TITLE: Type = { size: 17, line: 23, letter: 1.12 * LETTER };
const TEXT: Type = { size: 13, line: 19, letter: 0.95 * LETTER };

/**
 * Quality against the first cost in which methods differ, as an SVG file for a README: 800 wide, with its title, the
 * verdict, axes, names, legend; light or dark as its reader prefers. Where there was tuning, tuned settings.
 *
 * @returns undefined before two methods have a score
 */
export function renderPicture(result: StudyResult): string | undefined {
  const whole = viewOf(result);
  const view = { ...whole, entries: whole.entries.filter((e) => e.decides) };
  const costs = costsOf(view);
  if (costs.length === 0) return undefined;
  const cost = firstCost(view, costs);
  const title = wrapped(result.question || result.name, TITLE);
  const verdict = wrapped(result.verdict.headline, TEXT);
  const head = MARGIN + title.length * TITLE.line + verdict.length * TEXT.line + 4;
  const top = head + ABOVE;
  const frame: Frame = {
    width: WIDTH,
    height: top + AREA.height + BELOW,
    ...{ left: AREA.left, right: AREA.right, top, bottom: BELOW, indent: MARGIN },
  };
  const notes = wrapped(footnote(view), TEXT);
  const legendAt = frame.height + TEXT.line;
  const height = legendAt + notes.length * TEXT.line + MARGIN;
  const drawing = tradeoffDrawing(view, cost, {
    ...{ frame, text: TEXT.size, nameAll: true, explain: true },
    wrap: ({ entry }, marks) =>
      html`<g><title>${[entry.name, ...factsOf(entry, view)].join('\n')}</title>${marks}</g>`,
  });
  const picture = html`<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title verdict">
<style>${raw(style())}</style><rect class="card" width="${WIDTH}" height="${height}" rx="10"/>
<g id="title">${lines(title, MARGIN + TITLE.size, TITLE.line, 'title')}</g><g id="verdict">${lines(verdict, MARGIN + title.length * TITLE.line + TEXT.size + 4, TEXT.line, 'text')}</g>
${drawing}
<g>${legend(view, legendAt)}</g>${lines(notes, legendAt + TEXT.line + 4, TEXT.line, 'text')}</svg>`;
  return `${valid(picture.markup)}\n`;
}

function lines(texts: readonly string[], first: number, step: number, kind: string): Html[] {
  return texts.map(
    (text, i) => html`<text class="${kind}" x="${MARGIN}" y="${px(first + i * step)}">${text}</text>`,
  );
}

/** Breaks a text between words into lines that the picture holds. */
function wrapped(text: string, { size, letter }: Type): string[] {
  const most = Math.floor((WIDTH - 2 * MARGIN) / (letter * size));
  const broken: string[] = [];
  for (const word of text.split(/\s+/)) {
    const longer = `${broken.at(-1) ?? ''} ${word}`.trim();
    if (broken.length > 0 && longer.length <= most) broken[broken.length - 1] = longer;
    else broken.push(word);
  }
  return broken;
}

/** What the marks mean, side by side. */
function legend(view: View, y: number): Html[] {
  const { entries } = view;
  const anyBest = entries.some((e) => e.summary.amongBest);
  const others = entries.some((e) => e.summary.interval === undefined) ? 'worse, or not compared' : 'worse';
  const items: [mark: Html, text: string][] = [
    ...(anyBest
      ? [
          [html`<circle class="point best" cx="7" cy="-4.5" r="5.5"/>`, 'cannot be told from the best'] as [
            Html,
            string,
          ],
        ]
      : []),
    [html`<circle class="point" cx="7" cy="-4.5" r="5.5"/>`, anyBest ? others : 'methods'],
    [html`<path class="frontier" d="M0 -4.5h15"/>`, 'none other beats these on both'],
    ...(qualityAxis(view).anyOff
      ? [[html`<path class="point off" d="M2 -9h10l-5 9z"/>`, 'beyond the scale'] as [Html, string]]
      : []),
  ];
  let x = MARGIN;
  return items.map(([mark, text]) => {
    const item = html`<g transform="translate(${px(x)} ${px(y)})">${mark}<text class="text" x="21">${text}</text></g>`;
    x += 21 + text.length * TEXT.letter * TEXT.size + 22;
    return item;
  });
}

/** What the numbers are of. */
function footnote({ result, entries }: View): string {
  const { seeds, hardware, test } = result;
  const bars = entries.some((e) => e.summary.interval)
    ? 'Bars: 95 % intervals over seeds and test rows. '
    : '';
  const rows = test === undefined ? '' : `, ${test.rows.toLocaleString('en')} test rows`;
  const tuned = entries[0].summary.treatment === 'tuned' ? ', tuned settings' : '';
  return `${bars}${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'}${rows}${tuned}; ${hardware}.`;
}

/** Colours by name as pages have them, light and dark, and what pictures are drawn with. */
function style(): string {
  const colours = [
    ...asset(import.meta.url, 'base.css').matchAll(/(--[\w-]+): light-dark\((#\w+), (#\w+)\)/g),
  ];
  const set = (pick: 2 | 3) => `svg{${colours.map((c) => `${c[1]}:${c[pick]}`).join(';')}}`;
  return `${set(2)}@media (prefers-color-scheme: dark){${set(3)}}\n${asset(import.meta.url, 'marks.css')}${asset(import.meta.url, 'picture.css')}`;
}

/** Without characters that XML cannot hold. */
function valid(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, '');
}
