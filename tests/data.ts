import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

const root = process.env.RANKINE_DATA ?? new URL('../../shared/data', import.meta.url).pathname;

/** Path of a real data file that is not part of the repository, or undefined where it is absent (the test then skips). */
export function realData(path: string): string | undefined {
  const full = join(root, path);
  if (existsSync(full)) return full;
  console.warn(`skipped: ${path} is absent; set RANKINE_DATA to the folder that holds it`);
  return undefined;
}

/** Reads a file that may be gzipped. */
export function readMaybeGzip(path: string): Buffer {
  const bytes = readFileSync(path);
  return path.endsWith('.gz') ? gunzipSync(bytes) : bytes;
}
