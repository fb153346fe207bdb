import { open } from 'node:fs/promises';
import { RankineError } from '../errors.ts';
import { type ByteSource, checkRange } from './byte-source.ts';

// One system call reads at most 2 GiB.
const LARGEST_READ = 1 << 30;

/**
 * Opens a file for reading by ranges.
 *
 * @throws RankineError `formats/missing-file`, `formats/cannot-read`
 */
export async function fileSource(path: string): Promise<ByteSource> {
  const file = await open(path, 'r').catch((cause) => {
    throw readError(path, cause);
  });
  const { size } = await file.stat();
  return {
    name: path,
    size,
    async read(offset, length) {
      checkRange(path, size, offset, length);
      const bytes = new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const part = Math.min(LARGEST_READ, length - done);
        const { bytesRead } = await file.read(bytes, done, part, offset + done);
        if (bytesRead === 0) checkRange(path, offset + done, offset, length);
        done += bytesRead;
      }
      return bytes;
    },
    close: () => file.close(),
  };
}

/** Turns a system error met while reading `path` into a RankineError; any other error passes unchanged. */
export function readError(path: string, cause: unknown): unknown {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOENT')
    return new RankineError(
      'formats/missing-file',
      `There is no file ${path}.`,
      'Check the path, or download the model again.',
      { cause },
    );
  if (code === 'EACCES' || code === 'EPERM' || code === 'EISDIR' || code === 'ENOTDIR')
    return new RankineError(
      'formats/cannot-read',
      `Cannot read ${path}: ${(cause as Error).message}.`,
      'Check that it is a file and that you may read it.',
      { cause },
    );
  return cause;
}
