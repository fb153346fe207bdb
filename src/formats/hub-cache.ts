import { createHash, type Hash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { exists, writeAtomic } from './atomic.ts';

export type HubKind = 'model' | 'dataset';

/** The environment variables that huggingface_hub knows, read when asked, not when loaded. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface HubSettings {
  readonly endpoint: string;
  /** The folder with one `models--owner--name` folder a repository. */
  readonly cache: string;
  readonly token?: string;
  readonly offline: boolean;
}

/** Endpoint, cache folder, token and offline mode, as huggingface_hub finds them. */
export async function hubSettings(env: Environment): Promise<HubSettings> {
  const cacheRoot = env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const home = expandHome(env.HF_HOME ?? join(cacheRoot, 'huggingface'));
  return {
    endpoint: (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, ''),
    cache: expandHome(env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? join(home, 'hub')),
    token: env.HF_TOKEN?.trim() || (await savedToken(env.HF_TOKEN_PATH ?? join(home, 'token'))),
    offline: isTrue(env.HF_HUB_OFFLINE) || isTrue(env.TRANSFORMERS_OFFLINE),
  };
}

function expandHome(path: string): string {
  return path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path;
}

function isTrue(value: string | undefined): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes((value ?? '').toUpperCase());
}

/** The token that `hf auth login` left behind. */
async function savedToken(path: string): Promise<string | undefined> {
  if (!(await exists(path))) return undefined;
  return (await readFile(path, 'utf8')).trim() || undefined;
}

/** A repository's folder in the cache: blobs by content, snapshots by commit (links to blobs), refs from names to commits. */
export function repositoryFolder(settings: HubSettings, kind: HubKind, name: string): string {
  return join(settings.cache, [`${kind}s`, ...name.split('/')].join('--'));
}

export function snapshotFolder(repository: string, commit: string): string {
  return join(repository, 'snapshots', commit);
}

export const COMMIT = /^[0-9a-f]{40}$/;

/** The commit that a branch, tag or commit had when it was last downloaded, or undefined. */
export async function cachedCommit(repository: string, revision: string): Promise<string | undefined> {
  if (COMMIT.test(revision)) return revision;
  const path = join(repository, 'refs', revision);
  return (await exists(path)) ? (await readFile(path, 'utf8')).trim() : undefined;
}

export async function writeRef(repository: string, revision: string, commit: string): Promise<void> {
  if (!COMMIT.test(revision)) await writeAtomic(join(repository, 'refs', revision), commit);
}

/** Files of a snapshot whose content is there, by their paths in the repository. */
export async function snapshotFiles(folder: string): Promise<string[]> {
  if (!(await exists(folder))) return [];
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((e) => !e.isDirectory()).map((e) => join(e.parentPath, e.name));
  const whole = await Promise.all(paths.map(exists)); // false for a link to a missing blob
  return paths.filter((_, i) => whole[i]).map((path) => relative(folder, path).replaceAll('\\', '/'));
}

/** Makes a snapshot's file appear, as a relative link to its blob, or as a copy where the system has no links. */
export async function linkBlob(blob: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await rm(target, { force: true });
  try {
    await symlink(relative(dirname(target), blob), target);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EEXIST') return; // another process was faster, with the same content
    if (code !== 'EPERM' && code !== 'ENOSYS' && code !== 'ENOTSUP') throw error;
    await copyFile(blob, target);
  }
}

/** A check of content against the hub's name for it: SHA-256 for large files, git's SHA-1 of header and content else. */
export function contentDigest(etag: string, size: number): Hash {
  if (etag.length === 64) return createHash('sha256');
  return createHash('sha1').update(`blob ${size}\0`);
}
