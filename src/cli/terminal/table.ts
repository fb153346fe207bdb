import { type Align, fitWidth, printable, widthOf } from './text.ts';

export interface TableOptions {
  readonly header?: readonly string[];
  /** By column; missing ones are `left`. */
  readonly align?: readonly Align[];
  /** Columns of the terminal; the widest columns of the table give way until it fits. Default: unlimited. */
  readonly width?: number;
}

const GAP = '  ';
const NARROWEST = 4;

/** Aligned rows, with the header first and a rule below it. Missing cells are empty. */
export function table(rows: readonly (readonly string[])[], options: TableOptions = {}): string[] {
  const { header, align = [], width = Number.POSITIVE_INFINITY } = options;
  const cells = (header ? [header, ...rows] : rows).map((row) => row.map(printable));
  const columns = Math.max(0, ...cells.map((row) => row.length));
  const natural = Array.from({ length: columns }, (_, c) =>
    Math.max(...cells.map((row) => widthOf(row[c] ?? ''))),
  );
  const widths = shrink(natural, width - GAP.length * (columns - 1));
  const lines = cells.map((row) =>
    widths
      .map((w, c) => fitWidth(row[c] ?? '', w, align[c]))
      .join(GAP)
      .trimEnd(),
  );
  if (header) lines.splice(1, 0, rule(header, widths));
  return lines;
}

/** Takes columns from the widest until the sum fits; none goes below `NARROWEST`. */
function shrink(natural: readonly number[], available: number): number[] {
  const widths = [...natural];
  let excess = widths.reduce((a, b) => a + b, 0) - available;
  while (excess > 0) {
    const widest = widths.indexOf(Math.max(...widths));
    if (widths[widest] <= NARROWEST) break;
    widths[widest]--;
    excess--;
  }
  return widths;
}

/** A stroke below each column that has a title. */
function rule(header: readonly string[], widths: readonly number[]): string {
  return widths
    .map((width, c) => (header[c] ? '─' : ' ').repeat(width))
    .join(GAP)
    .trimEnd();
}
