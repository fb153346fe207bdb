import { RankineError } from '../errors.ts';

/** Random access to bytes that may lie in a file, in memory or behind a network. */
export interface ByteSource {
  /** What error messages call it: a path or an address. */
  readonly name: string;
  /** Length in bytes. */
  readonly size: number;
  /** Reads `length` bytes from `offset` into a fresh buffer (offset 0) that the caller owns. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A source over bytes in memory, for browsers and small files. */
export function bytesSource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    async read(offset, length) {
      checkRange(name, bytes.byteLength, offset, length);
      return new Uint8Array(bytes.subarray(offset, offset + length)); // a Buffer's own slice would share memory
    },
    async close() {},
  };
}

/** @throws RankineError `formats/truncated` when the range does not lie inside the source */
export function checkRange(name: string, size: number, offset: number, length: number): void {
  if (offset < 0 || length < 0 || offset + length > size)
    throw new RankineError(
      'formats/truncated',
      `${name} has ${size} bytes, but bytes ${offset} to ${offset + length} are needed: it is truncated or damaged.`,
      'Download or write the file again.',
    );
}
