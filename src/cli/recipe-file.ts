import { access, readFile } from 'node:fs/promises';
import { extname, resolve } from 'node:path';
import { type Document, isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { RankineError } from '../errors.ts';

/** A recipe as its file has it, not yet checked. */
export interface RecipeFile {
  readonly file: string;
  readonly content: Record<string, unknown>;
  /** Line of a field, counted from 1, or of its closest enclosing one; undefined where the form has no lines (TypeScript). */
  lineOf(path: readonly string[]): number | undefined;
}

const MODULES = ['.ts', '.mts', '.js', '.mjs'];

/**
 * Reads a recipe: YAML, JSON, or TypeScript or JavaScript with the recipe as default export (or a function that gives
 * it). `$schema`, which editors use, is dropped.
 *
 * @throws RankineError `recipe/no-file`, `recipe/unreadable` naming the line, `recipe/not-an-object`
 */
export async function readRecipeFile(file: string): Promise<RecipeFile> {
  const read = MODULES.includes(extname(file)) ? await importModule(file) : await readText(file);
  if (typeof read.value !== 'object' || read.value === null || Array.isArray(read.value))
    throw new RankineError(
      'recipe/not-an-object',
      `${file} holds no recipe: ${read.value === undefined || read.value === null ? 'it is empty' : 'it is no object of named fields'}.`,
      'Write at least model and data.',
    );
  const { $schema: _, ...content } = read.value as Record<string, unknown>;
  return { file, content, lineOf: read.lineOf };
}

interface Read {
  readonly value: unknown;
  readonly lineOf: RecipeFile['lineOf'];
}

/** JSON is read as YAML, of which it is a part: errors then have a line too. */
async function readText(file: string): Promise<Read> {
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw noFile(file, cause);
  });
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (error)
    throw new RankineError(
      'recipe/unreadable',
      `${file}, line ${lines.linePos(error.pos[0]).line}: ${error.message}.`,
      'Correct the line.',
      { cause: error },
    );
  return { value: document.toJS(), lineOf: (path) => lineIn(document, lines, path) };
}

/** Line of the deepest key of `path` that the document has. */
function lineIn(document: Document, lines: LineCounter, path: readonly string[]): number | undefined {
  let node: unknown = document.contents;
  let line: number | undefined;
  for (const key of path) {
    const pair = isMap(node)
      ? node.items.find((p) => isScalar(p.key) && String(p.key.value) === key)
      : undefined;
    if (!pair || !isScalar(pair.key) || !pair.key.range) return line;
    line = lines.linePos(pair.key.range[0]).line;
    node = pair.value;
  }
  return line;
}

async function importModule(file: string): Promise<Read> {
  await access(file).catch((cause) => {
    throw noFile(file, cause);
  });
  const { createJiti } = await import('jiti');
  try {
    const loaded = await createJiti(import.meta.url).import(resolve(file), { default: true });
    const value = typeof loaded === 'function' ? await loaded() : loaded;
    return { value, lineOf: () => undefined };
  } catch (cause) {
    throw new RankineError(
      'recipe/unreadable',
      `${file} cannot be run: ${(cause as Error).message}.`,
      'Give it the recipe as default export.',
      { cause },
    );
  }
}

function noFile(file: string, cause: unknown): RankineError {
  return new RankineError(
    'recipe/no-file',
    `There is no recipe file ${file} (${(cause as Error).message}).`,
    'Check the path; or do without a recipe: give --model and --data.',
    { cause },
  );
}
