import stringWidth from 'string-width';

/** Columns that `text` takes in a terminal; colour codes take none, wide characters two. */
export function widthOf(text: string): number {
  return stringWidth(text);
}

export type Align = 'left' | 'right';

/** Exactly `width` columns: padded, or cut with an ellipsis. `text` must not hold colour codes if it may be cut. */
export function fitWidth(text: string, width: number, align: Align = 'left'): string {
  const cut = truncate(text, width);
  const padding = ' '.repeat(Math.max(0, width - widthOf(cut)));
  return align === 'left' ? cut + padding : padding + cut;
}

/** At most `width` columns. */
export function truncate(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  if (width < 1) return '';
  let kept = '';
  let used = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    const columns = widthOf(segment);
    if (used + columns > width - 1) break;
    kept += segment;
    used += columns;
  }
  return `${kept}…`;
}

/** Names from files and recipes: control characters, which could steer the terminal, become `�`. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '\ufffd');
}

/** Puts `cells` side by side, `gap` apart, on as few lines of `width` columns as hold them in order. */
export function flow(cells: readonly string[], width: number, gap = 3): string[] {
  const lines: string[] = [];
  for (const cell of cells) {
    const joined = lines.length > 0 ? `${lines[lines.length - 1]}${' '.repeat(gap)}${cell}` : '';
    if (lines.length > 0 && widthOf(joined) <= width) lines[lines.length - 1] = joined;
    else lines.push(cell);
  }
  return lines;
}
