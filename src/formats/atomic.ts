import { randomUUID } from 'node:crypto';
import { access, type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { RankineError } from '../errors.ts';

/** What `writeAtomic` accepts: the whole content, or pieces of it that are written as they come. */
export type Content = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

const TEMPORARY = '.tmp-';

/** True for the name of a file or folder that a killed process left half written; listings skip such names. */
export function isTemporary(name: string): boolean {
  return basename(name).startsWith(TEMPORARY);
}

/**
 * Writes a file so that a reader sees the old content or the whole new one, never a part, whatever kills the process:
 * temporary file in the same folder, fsync, rename, fsync of the folder. Missing parent folders are made.
 *
 * Whatever fails, the temporary file is removed and an older file at `path` stays as it was.
 *
 * @throws RankineError `formats/disk-full`, `formats/cannot-write`; an error thrown by `content` itself passes unchanged
 */
export async function writeAtomic(path: string, content: Content): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await replaceFile(path, content);
  } catch (error) {
    throw writeError(path, error);
  }
}

async function replaceFile(path: string, content: Content): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    await writeAndSync(temporary, content);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/**
 * Publishes a folder at once: `fill` writes into a temporary folder beside it, which is synced and renamed.
 * With `replace`, an older folder is first renamed aside (to a temporary name) and removed after the new one stands in
 * its place; no system renames one folder over another, so a kill between the two renames leaves both under such names.
 *
 * @throws RankineError `formats/folder-exists`, `formats/disk-full`, `formats/cannot-write`; errors of `fill` pass unchanged
 */
export async function publishFolder(
  path: string,
  fill: (temporaryFolder: string) => Promise<void>,
  options: { replace?: boolean } = {},
): Promise<void> {
  if (!options.replace) await refuseExisting(path);
  try {
    const temporary = temporaryBeside(path);
    await mkdir(temporary, { recursive: true });
    await fillAndMove(temporary, path, fill, options.replace === true);
    await syncFolder(dirname(path));
  } catch (error) {
    throw writeError(path, error);
  }
}

async function fillAndMove(
  temporary: string,
  path: string,
  fill: (temporaryFolder: string) => Promise<void>,
  replace: boolean,
): Promise<void> {
  try {
    await fill(temporary);
    await syncTree(temporary);
    if (replace) await moveIntoPlace(temporary, path);
    else await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

async function moveIntoPlace(temporary: string, path: string): Promise<void> {
  const old = temporaryBeside(path);
  const replaced = await exists(path);
  if (replaced) await rename(path, old);
  try {
    await rename(temporary, path);
  } catch (error) {
    if (replaced) await rename(old, path);
    throw error;
  }
  await rm(old, { recursive: true, force: true });
}

// A name from the system's random source: process and thread ids repeat between containers that share a folder.
function temporaryBeside(path: string): string {
  return join(dirname(path), `${TEMPORARY}${basename(path)}-${randomUUID()}`);
}

async function writeAndSync(path: string, content: Content): Promise<void> {
  const file = await open(path, 'wx');
  try {
    for await (const chunk of chunks(content)) await writeAll(file, chunk);
    await file.sync();
  } finally {
    await file.close();
  }
}

function chunks(content: Content): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof content === 'string') return [new TextEncoder().encode(content)];
  return content instanceof Uint8Array ? [content] : content;
}

// One system call writes at most 2 GiB.
const LARGEST_WRITE = 1 << 30;

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  let done = 0;
  while (done < chunk.byteLength) {
    const length = Math.min(LARGEST_WRITE, chunk.byteLength - done);
    done += (await file.write(chunk, done, length)).bytesWritten;
  }
}

async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return; // Windows opens no handle on a folder and needs none: renames are journaled.
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await syncFile(path);
  }
  await syncFolder(folder);
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function refuseExisting(path: string): Promise<void> {
  if (await exists(path)) throw folderExists(path);
}

function folderExists(path: string, cause?: unknown): RankineError {
  return new RankineError(
    'formats/folder-exists',
    `The folder ${path} exists already.`,
    'Choose another folder, remove it, or ask to overwrite it.',
    { cause },
  );
}

/** True when something exists at `path`. */
export async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

const FULL = new Set(['ENOSPC', 'EDQUOT']);
const DENIED = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EISDIR', 'EEXIST', 'ENAMETOOLONG', 'EFBIG']);

/** Turns a system error met while writing `path` into a RankineError; any other error passes unchanged. */
export function writeError(path: string, cause: unknown): unknown {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? '';
  if (FULL.has(code))
    return new RankineError(
      'formats/disk-full',
      `No space left on the disk while writing ${path}; the file that stood there before is unchanged.`,
      'Free some space or write to another disk, then run the command again.',
      { cause },
    );
  if (code === 'ENOTEMPTY') return folderExists(path, cause); // made by another process meanwhile
  if (DENIED.has(code))
    return new RankineError(
      'formats/cannot-write',
      `Cannot write ${path}: ${(cause as Error).message}.`,
      'Check that the folder exists as a folder and that you may write there.',
      { cause },
    );
  return cause;
}
