import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Html, html, raw } from './html.ts';

export interface Page {
  readonly title: string;
  readonly body: Html;
  /** Style sheets after the common one, and scripts after the common one, as text. */
  readonly styles?: readonly string[];
  readonly scripts?: readonly string[];
  /** Where the page may send requests: `'none'` for a page that opens from disk. */
  readonly connect?: "'none'" | "'self'";
}

/**
 * A whole page in one file. Its policy lets it run these very scripts and load nothing: even a text that slipped
 * through unescaped could neither run nor send.
 */
export function page({ title, body, styles = [], scripts = [], connect = "'none'" }: Page): string {
  const code = [asset(import.meta.url, 'client.js'), ...scripts];
  const hashes = [THEME, ...code].map((text) => `'sha256-${sha256(text)}'`).join(' ');
  const policy = `default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src ${hashes}; connect-src ${connect}; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>\n${
    html`<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><meta name="generator" content="rankine">
<title>${title}</title><link rel="icon" href="${ICON}">
<style>${raw([...STYLES.map((name) => asset(import.meta.url, name)), ...styles].join('\n'))}</style><script>${raw(THEME)}</script></head>
<body>${body}${code.map((text) => html`<script type="module">${raw(text)}</script>`)}</body></html>`.markup
  }\n`;
}

/** The last one changes what the others say, for phones and for paper. */
const STYLES = [
  'base.css',
  'verdict.css',
  'marks.css',
  'pictures.css',
  'panels.css',
  'tables.css',
  'rows.css',
  'narrow-and-print.css',
];

/** Before anything is drawn, so that the page does not flash in the other colours. Storage may be closed to files. */
const THEME =
  "try{const t=localStorage.getItem('rankine-theme');if(t)document.documentElement.dataset.theme=t}catch{}";

const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='3' fill='%231d5fbf'/%3E%3Cpath d='M3 12h2V8H3zm4 0h2V5H7zm4 0h2V3h-2z' fill='%23fff'/%3E%3C/svg%3E";

/** A style sheet or script of a page, which stands beside the module `base`. */
export function asset(base: string, name: string): string {
  // The compiler's reference to a source map would be a request.
  return readFileSync(new URL(name, base), 'utf8').replace(/\n\/\/# sourceMappingURL=.*\s*$/, '\n');
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}
