import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { parse } from 'yaml';
import { isTemporary } from '../formats/index.ts';
import { parseStudy, type StudyResult } from '../studies/index.ts';
import { lockHolder } from '../training/index.ts';

/** A study that the studio shows: begun, or only a file so far. */
export interface FoundStudy {
  /** Stands in addresses: from the folder, so that it stays the same. */
  readonly id: string;
  readonly name: string;
  /** Absolute. */
  readonly folder: string;
  /** What `rankine compare` takes to go on with it. */
  readonly file?: string;
  /** Process that runs it now. */
  readonly pid?: number;
  /** When its result was last written, milliseconds since 1970; 0: not yet. */
  readonly resultChanged: number;
  /** When it last wrote something, milliseconds since 1970. */
  readonly changed: number;
}

const FILES = ['.yaml', '.yml', '.json'];

/**
 * Studies in folders and in their subfolders, and study files beside them; newest first. What cannot be read is left
 * out: a folder of studies may hold anything.
 */
export async function findStudies(roots: readonly string[]): Promise<FoundStudy[]> {
  const folders = new Map<string, string | undefined>();
  for (const root of roots.map((r) => resolve(r))) {
    if (await isStudyFolder(root)) folders.set(root, folders.get(root));
    for (const entry of await entries(root)) {
      const path = join(root, entry.name);
      if (entry.isDirectory() && (await isStudyFolder(path))) folders.set(path, folders.get(path));
      const output = entry.isFile() ? await outputOf(path) : undefined;
      if (output !== undefined) folders.set(output, path);
    }
  }
  const found = await Promise.all([...folders].map(([folder, file]) => describeStudy(folder, file)));
  return found.sort((a, b) => b.changed - a.changed);
}

async function entries(folder: string) {
  const all = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return all.filter((entry) => !isTemporary(entry.name));
}

async function isStudyFolder(folder: string): Promise<boolean> {
  return (
    (await changeOf(join(folder, 'study.json'))) > 0 || (await changeOf(join(folder, 'result.json'))) > 0
  );
}

/** Files are read again only when they changed: most of a folder's files are no studies. */
const known = new Map<string, { readonly changed: number; readonly output?: string }>();

/** Folder of the study in a file; undefined where it holds none. TypeScript is not run for a listing. */
async function outputOf(file: string): Promise<string | undefined> {
  if (!FILES.includes(extname(file))) return undefined;
  const changed = await changeOf(file);
  const before = known.get(file);
  if (before?.changed === changed) return before.output;
  const output = await readOutput(file).catch(() => undefined);
  known.set(file, { changed, output });
  return output;
}

async function readOutput(file: string): Promise<string> {
  const { $schema: _, ...content } = parse(await readFile(file, 'utf8'));
  return resolve(parseStudy(content).output);
}

async function describeStudy(folder: string, file: string | undefined): Promise<FoundStudy> {
  const [recorded, resultFile] = [join(folder, 'study.json'), join(folder, 'result.json')];
  const times = await Promise.all([file ?? recorded, recorded, resultFile].map(changeOf));
  const holder = await lockHolder(join(folder, 'study.lock'));
  return {
    id: createHash('sha256').update(folder).digest('hex').slice(0, 12),
    name: basename(folder),
    folder,
    file: file ?? (times[1] > 0 ? recorded : undefined),
    pid: holder?.pid,
    resultChanged: times[2],
    changed: Math.max(...times),
  };
}

const results = new Map<string, { readonly changed: number; readonly result?: StudyResult }>();

/** What a study says so far; undefined before its first run has ended. Read anew only when it changed. */
export async function resultOf({ folder, resultChanged }: FoundStudy): Promise<StudyResult | undefined> {
  const before = results.get(folder);
  if (before?.changed === resultChanged) return before.result;
  const result = await readJson<StudyResult>(join(folder, 'result.json'));
  results.set(folder, { changed: resultChanged, result });
  return result;
}

/** Undefined where the file is missing or is no JSON: a folder of studies may hold anything. */
export async function readJson<T>(file: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Milliseconds since 1970 of a file's last change; 0 where there is none. */
export async function changeOf(file: string): Promise<number> {
  return stat(file).then(
    (s) => s.mtimeMs,
    () => 0,
  );
}

/** A path as people write it: relative where it is below the working folder. */
export function shownPath(path: string): string {
  const inside = path.startsWith(`${process.cwd()}/`);
  return inside ? path.slice(process.cwd().length + 1) : path;
}
