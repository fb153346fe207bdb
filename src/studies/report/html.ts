/** Markup that may stand in a page as it is. Only `html`, `raw` and `joined` make it: text from outside is escaped. */
export interface Html {
  readonly markup: string;
}

/** What a template takes. Texts and numbers are escaped; `undefined` and `false` leave nothing. */
export type Part = string | number | Html | undefined | false | readonly Part[];

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Safe between tags and inside quoted attributes. */
export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (c) => ENTITIES[c]);
}

/** Template for markup; attributes that take values must be quoted. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return { markup: strings.reduce((text, s, i) => text + markupOf(parts[i - 1]) + s) };
}

/** Markup that this room made itself. */
export function raw(markup: string): Html {
  return { markup };
}

function markupOf(part: Part): string {
  if (part === undefined || part === false) return '';
  if (typeof part === 'string') return escaped(part);
  if (typeof part === 'number') return String(part);
  if ('markup' in part) return part.markup;
  return part.map(markupOf).join('');
}

/** JSON that cannot end the script element that it stands in, nor open a comment in it. */
export function jsonFor(value: unknown): Html {
  return raw(JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${hex(c)}`));
}

function hex(character: string): string {
  return character.charCodeAt(0).toString(16).padStart(4, '0');
}
