import { createHash } from 'node:crypto';
import { createReadStream, readdirSync, readFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exists } from '../formats/index.ts';
import { collectVersions, type Recipe } from '../training/index.ts';

/** Fields that change nothing in a run's numbers. */
const IRRELEVANT: ReadonlySet<string> = new Set(['output', 'logEvery', 'keep']);

/** Equal for equal values, whatever the order of their fields. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, v) =>
    v && typeof v === 'object' && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );
}

export function hashText(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/**
 * What makes two runs the same: the resolved recipe, the code that runs it, and the content of model and data.
 */
export function runKey(recipe: Recipe, modelHash: string, dataHash: string): string {
  const relevant = Object.fromEntries(Object.entries(recipe).filter(([key]) => !IRRELEVANT.has(key)));
  return hashText(canonical({ recipe: relevant, modelHash, dataHash, code: codeHash() }));
}

/** Rooms whose code decides a run's numbers. */
const ROOMS = [
  'graph',
  'engine',
  'linalg',
  'formats',
  'models',
  'data',
  'adapters',
  'optimizers',
  'training',
];

let code: string | undefined;

/** Hash of this package's own code, as far as numbers depend on it, and of the engine's version. */
function codeHash(): string {
  if (code !== undefined) return code;
  const root = fileURLToPath(new URL('../', import.meta.url));
  const hash = createHash('sha256').update(canonical(collectVersions().packages));
  for (const room of ROOMS)
    for (const name of readdirSync(join(root, room)).sort())
      if (/(?<!\.test|\.contract|\.d)\.[jt]s$/.test(name))
        hash.update(name).update(readFileSync(join(root, room, name)));
  code = hash.digest('hex');
  return code;
}

/** What a run is computed with, by name. */
export function currentVersions(): Record<string, string> {
  const { rankine, node, packages } = collectVersions();
  return { rankine, code: codeHash().slice(0, 12), node, ...packages };
}

/** Hashes files by content, each once in a process. What is not on this disk (a hub id) stands for itself. */
export function contentHasher() {
  const known = new Map<string, Promise<string>>();
  const one = (path: string) => {
    if (!known.has(path)) known.set(path, hashPath(path));
    return known.get(path)!;
  };
  return {
    async model({ path, init, tokenizer }: Recipe['model']): Promise<string> {
      const parts = [path, ...(tokenizer === undefined ? [] : [tokenizer])];
      return hashText(canonical([init, ...(await Promise.all(parts.map(one)))]));
    },
    async data(...specs: readonly unknown[]): Promise<string> {
      const paths = specs.flatMap(pathsOf);
      return hashText(canonical(await Promise.all(paths.map(one))));
    },
  };
}

export type ContentHasher = ReturnType<typeof contentHasher>;

function pathsOf(spec: unknown): string[] {
  if (spec === undefined) return [];
  if (typeof spec === 'string') return [spec];
  if (Array.isArray(spec)) return spec.flatMap(pathsOf);
  return pathsOf((spec as { path: unknown }).path);
}

async function hashPath(path: string): Promise<string> {
  if (!(await exists(path))) return hashText(path);
  if ((await stat(path)).isFile()) return hashFile(path);
  const names = (await readdir(path, { recursive: true })).sort();
  const files = [];
  for (const name of names) if ((await stat(join(path, name))).isFile()) files.push(name);
  return hashText(canonical(await Promise.all(files.map(async (f) => [f, await hashFile(join(path, f))]))));
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}
