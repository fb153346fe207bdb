import type { PublishedFigure, Reading } from '../training/index.ts';
import { decimalBytes } from './memory-size.ts';
import { percent, styleFor } from './terminal/index.ts';

/** Published figures beside what their formulas give, for a terminal. */
export function publishedLines(figures: readonly PublishedFigure[]): string[] {
  const style = styleFor(process.stdout);
  return figures.flatMap((figure) => [
    style.strong(`${figure.claim} (${figure.paper})`),
    `  published: ${shown(figure, figure.published)}`,
    ...figure.readings.flatMap((reading) => [
      `  counted:   ${shown(figure, reading.value)}: ${reading.assumption}`,
      `             ${sizes(reading)}`,
    ]),
    '',
  ]);
}

/** The same as a table of docs/memory.md. */
export function publishedMarkdown(figures: readonly PublishedFigure[]): string {
  const rows = figures.flatMap((figure) =>
    figure.readings.map((reading, i) => [
      i === 0 ? `${figure.claim} (${figure.paper})` : '',
      i === 0 ? shown(figure, figure.published) : '',
      shown(figure, reading.value),
      reading.assumption,
      sizes(reading),
    ]),
  );
  const lines = [
    ['abstract', 'published', 'counted', 'counted how', 'formula'],
    Array(5).fill('---'),
    ...rows,
  ];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function shown({ unit }: PublishedFigure, value: number): string {
  return unit === 'saved' ? `−${percent(value)}` : decimalBytes(value);
}

function sizes({ formula, bytes, baseline }: Reading): string {
  const own = `${formula} = ${decimalBytes(bytes)}`;
  return baseline ? `${own}, against ${baseline.formula} = ${decimalBytes(baseline.bytes)}` : own;
}
