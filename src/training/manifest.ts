import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RankineError } from '../errors.ts';
import { fileSource } from '../formats/file-source.ts';
import { openSafetensors } from '../formats/safetensors.ts';

export const MANIFEST = 'manifest.json';

/** What a checkpoint folder must hold; written last. */
export interface Manifest {
  readonly format: 1;
  readonly step: number;
  /** File name to its length and hash. */
  readonly files: Readonly<Record<string, FileDigest>>;
}

export interface FileDigest {
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Reads a checkpoint folder's manifest and compares the lengths of its files: cheap, finds what a crash leaves.
 *
 * @throws RankineError `training/broken-checkpoint`
 */
export async function readManifest(folder: string): Promise<Manifest> {
  const manifest = await parseManifest(folder);
  for (const [name, { bytes }] of Object.entries(manifest.files)) {
    const found = await stat(join(folder, name)).then(
      (s) => s.size,
      () => undefined,
    );
    if (found !== bytes)
      throw broken(
        folder,
        found === undefined ? `${name} is missing` : `${name} has ${found} bytes instead of ${bytes}`,
      );
  }
  return manifest;
}

/**
 * Compares every file's hash: reads the whole checkpoint once.
 *
 * @throws RankineError `training/broken-checkpoint`
 */
export async function verifyHashes(folder: string, manifest: Manifest): Promise<void> {
  for (const [name, { sha256 }] of Object.entries(manifest.files)) {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(join(folder, name), { highWaterMark: 1 << 20 }))
      hash.update(chunk);
    if (hash.digest('hex') !== sha256) throw broken(folder, `${name} has other bytes than were written`);
  }
}

/** Passes `content` on and calls `done` with its length and hash after the last piece. */
export async function* digesting(
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  done: (digest: FileDigest) => void,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of content) {
    for (let at = 0; at < chunk.byteLength; at += LARGEST_HASHED)
      hash.update(chunk.subarray(at, at + LARGEST_HASHED));
    bytes += chunk.byteLength;
    yield chunk;
  }
  done({ bytes, sha256: hash.digest('hex') });
}

// One call hashes at most 2 GiB.
const LARGEST_HASHED = 1 << 30;

async function parseManifest(folder: string): Promise<Manifest> {
  const text = await readFile(join(folder, MANIFEST), 'utf8').catch((cause) => {
    throw broken(folder, `its ${MANIFEST} cannot be read`, cause);
  });
  try {
    const manifest = JSON.parse(text);
    if (manifest.format === 1 && Number.isInteger(manifest.step) && typeof manifest.files === 'object')
      return manifest;
  } catch (cause) {
    throw broken(folder, `its ${MANIFEST} is not JSON`, cause);
  }
  throw broken(folder, `its ${MANIFEST} is not one of this format`);
}

/** Opens the tensors of `group`. @throws RankineError `training/no-such-tensors` */
export async function openGroup(folder: string, manifest: Manifest, group: string) {
  const name = groupFile(group);
  if (!Object.hasOwn(manifest.files, name))
    throw new RankineError(
      'training/no-such-tensors',
      `The checkpoint ${folder} has no ${name}; it holds ${Object.keys(manifest.files).join(', ')}.`,
      'Resume with the recipe that the checkpoint was written by.',
    );
  return openSafetensors(await fileSource(join(folder, name)));
}

export function groupFile(group: string): string {
  return `${group}.safetensors`;
}

export function broken(folder: string, fact: string, cause?: unknown): RankineError {
  return new RankineError(
    'training/broken-checkpoint',
    `The checkpoint ${folder} is damaged: ${fact}.`,
    'Resume from an earlier checkpoint and delete this one.',
    { cause },
  );
}
