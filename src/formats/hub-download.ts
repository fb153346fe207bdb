import { type Hash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { downloadFile, type ListFileEntry } from '@huggingface/hub';
import { RankineError } from '../errors.ts';
import { exists, publishFolder, writeError } from './atomic.ts';
import { hubAccess } from './hub-access.ts';
import { contentDigest, type HubKind, type HubSettings, linkBlob, snapshotFolder } from './hub-cache.ts';

/** How far the download of one repository is, in bytes; `file` is the one in work. */
export interface HubProgress {
  readonly file: string;
  readonly done: number;
  readonly total: number;
}

/** A repository at one commit, with everything needed to fetch from it. */
export interface HubRepository {
  readonly settings: HubSettings;
  readonly kind: HubKind;
  readonly name: string;
  readonly commit: string;
  readonly folder: string;
}

export interface DownloadOptions {
  readonly onProgress?: (progress: HubProgress) => void;
  readonly signal?: AbortSignal;
}

/**
 * Fetches files into the cache, one after the other; content that is there already is not fetched again.
 * The snapshot's links are made when every blob is there, so that a snapshot is never half made.
 */
export async function downloadFiles(
  repository: HubRepository,
  entries: readonly ListFileEntry[],
  options: DownloadOptions,
): Promise<void> {
  const links = entries.map((entry) => ({
    path: safePath(repository, entry.path),
    blob: blobPath(repository, entry),
  }));
  const total = entries.reduce((sum, entry) => sum + entry.size, 0);
  let start = 0;
  for (const [i, entry] of entries.entries()) {
    options.signal?.throwIfAborted();
    const report = (bytes: number) => options.onProgress?.({ file: entry.path, done: start + bytes, total });
    if (!(await exists(links[i].blob)))
      await fetchBlob(repository, entry, links[i].blob, options.signal, report);
    report(entry.size);
    start += entry.size;
  }
  await linkSnapshot(snapshotFolder(repository.folder, repository.commit), links);
}

interface Link {
  readonly path: string;
  readonly blob: string;
}

/** A new snapshot appears by one rename; one that is there already, made for other files, is added to. */
async function linkSnapshot(snapshot: string, links: readonly Link[]): Promise<void> {
  const linkInto = async (folder: string) => {
    for (const { path, blob } of links)
      if (!(await exists(join(folder, path)))) await linkBlob(blob, join(folder, path));
  };
  try {
    await publishFolder(snapshot, linkInto);
  } catch (error) {
    if (!(error instanceof RankineError) || error.code !== 'formats/folder-exists') throw error;
    await linkInto(snapshot);
  }
}

function blobPath(repository: HubRepository, entry: ListFileEntry): string {
  const etag = entry.lfs?.oid ?? entry.oid;
  if (etag && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(etag)) return join(repository.folder, 'blobs', etag);
  throw damaged(repository, entry.path, 'the hub gives it no proper identity');
}

// Under a name of its own: two processes may fetch the same file, and a killed one must leave nothing under a real name.
async function fetchBlob(
  repository: HubRepository,
  entry: ListFileEntry,
  blob: string,
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const incomplete = `${blob}.${randomUUID()}.incomplete`;
  await mkdir(dirname(blob), { recursive: true });
  try {
    const { received, digest } = await receive(
      repository,
      entry,
      incomplete,
      contentDigest(basename(blob), entry.size),
      signal,
      onBytes,
    );
    if (received !== entry.size)
      throw damaged(repository, entry.path, `${received} of its ${entry.size} bytes came`);
    if (digest !== basename(blob)) throw damaged(repository, entry.path, 'its checksum is wrong');
    await sync(incomplete);
    await rename(incomplete, blob);
  } catch (error) {
    await rm(incomplete, { force: true });
    throw writeError(blob, error);
  }
}

async function receive(
  repository: HubRepository,
  entry: ListFileEntry,
  path: string,
  hash: Hash,
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<{ received: number; digest: string }> {
  const { settings, kind, name, commit } = repository;
  const content = await downloadFile({
    repo: { type: kind, name },
    path: entry.path,
    revision: commit,
    ...hubAccess(settings),
  });
  if (!content) throw damaged(repository, entry.path, 'the hub lists it but does not give it');
  let received = 0;
  const count = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      hash.update(chunk);
      received += chunk.byteLength;
      onBytes(received);
      yield chunk;
    }
  };
  const body = Readable.fromWeb(content.stream() as Parameters<typeof Readable.fromWeb>[0]);
  await pipeline(body, count, createWriteStream(path, { flags: 'wx' }), { signal });
  return { received, digest: hash.digest('hex') };
}

async function sync(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

// The path comes from the network and is joined to a folder of ours.
function safePath(repository: HubRepository, path: string): string {
  const parts = path.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..' || /[\\:\0]/.test(part)))
    throw damaged(repository, path, 'its path leads outside the repository');
  return join(...parts);
}

function damaged(repository: HubRepository, path: string, fact: string): RankineError {
  return new RankineError(
    'formats/hub-download',
    `The file ${path} of ${repository.name} could not be downloaded: ${fact}.`,
    'Run the command again; what is complete is not fetched twice.',
  );
}
