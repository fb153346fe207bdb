import { widthOf } from './text.ts';

/** A terminal that can be drawn on. */
export interface Screen {
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

export interface Redraw {
  /** Puts `lines` where the last ones stood. */
  draw(lines: readonly string[]): void;
  /** Prints `text` for good, above the lines, which are drawn again below it. */
  print(text: string): void;
  /** Leaves the last lines standing and gives the cursor back. */
  end(): void;
}

const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
// Terminals that know synchronized output show the whole frame at once; others ignore the codes.
const BEGIN_FRAME = '\x1b[?2026h';
const END_FRAME = '\x1b[?2026l';
const ERASE_LINE_END = '\x1b[K';
const ERASE_BELOW = '\x1b[J';

/**
 * Redraws lines in place: one write a frame, each line overwritten and only its rest erased, so that nothing flickers.
 * Works in the normal screen: what was printed before stays, and the last frame stays when the run is over.
 */
export function redraw(screen: Screen): Redraw {
  let standing: readonly string[] = [];
  let begun = false;
  const frame = (above: string, lines: readonly string[]): void => {
    const body = lines.map((line) => `${line}${ERASE_LINE_END}\n`).join('');
    const start = begun ? '' : HIDE_CURSOR;
    begun = true;
    screen.write(
      `${start}${BEGIN_FRAME}${goUp(standing, screen.columns)}${above}${body}${ERASE_BELOW}${END_FRAME}`,
    );
    standing = lines;
  };
  return {
    draw: (lines) => frame('', lines),
    print: (text) => frame(`${text.replaceAll('\n', `${ERASE_LINE_END}\n`)}${ERASE_LINE_END}\n`, standing),
    end() {
      if (begun) screen.write(SHOW_CURSOR);
      begun = false;
      standing = [];
    },
  };
}

/** To the first of `lines`; a terminal made narrower since has broken long ones. */
function goUp(lines: readonly string[], columns = 80): string {
  const rows = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(widthOf(line) / columns)), 0);
  return rows > 0 ? `\r\x1b[${rows}A` : '\r';
}
