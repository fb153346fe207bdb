/** How parts of the output are set off. Each function may add codes that take no columns. */
export interface Style {
  readonly strong: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly accent: (text: string) => string;
  readonly good: (text: string) => string;
  readonly warn: (text: string) => string;
}

const same = (text: string): string => text;

/** No codes at all. */
export const PLAIN: Style = { strong: same, dim: same, accent: same, good: same, warn: same };

const sgr = (on: number, off: number) => (text: string) => `\x1b[${on}m${text}\x1b[${off}m`;

/** The terminal's own sixteen colours: readable on its background, whatever that is. */
export const COLOURED: Style = {
  strong: sgr(1, 22),
  dim: sgr(2, 22),
  accent: sgr(36, 39),
  good: sgr(32, 39),
  warn: sgr(33, 39),
};

/** What the output needs to know of where it goes. */
export interface Terminal {
  readonly isTTY?: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Colours in a terminal, unless NO_COLOR is set to anything (https://no-color.org) or it is a dumb one. */
export function styleFor(stream: Terminal, env: Environment = process.env): Style {
  return stream.isTTY && !env.NO_COLOR && env.TERM !== 'dumb' ? COLOURED : PLAIN;
}

/** True where a display may redraw itself: a terminal with a cursor, and nobody's build log. */
export function canRedraw(stream: Terminal, env: Environment = process.env): boolean {
  const inBuild = env.CI !== undefined && !['', '0', 'false'].includes(env.CI);
  return stream.isTTY === true && !inBuild && env.TERM !== 'dumb';
}
