import { RankineError } from '../errors.ts';

/** The arguments of pickle operations, taken one after the other; every read past the end is an error. */
export interface PickleReader {
  position(): number;
  byte(): number;
  uint16(): number;
  uint32(): number;
  uint64(): number;
  int32(): number;
  float64(): number;
  /** Signed little-endian integer of `length` bytes: a number where exact, else a bigint. */
  long(length: number): number | bigint;
  text(length: number): string;
  bytes(length: number): Uint8Array;
  /** Text up to the next line feed. */
  line(): string;
  skip(length: number): void;
}

/** Thrown when a pickle goes on past the bytes at hand; a legacy file is then read further. */
export class PickleTruncated extends RankineError {}

/** Reads from `start`. @throws PickleTruncated (`formats/truncated`) */
export function pickleReader(file: string, data: Uint8Array, start: number): PickleReader {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at = start;
  const advance = (length: number): number => {
    if (at + length > data.byteLength)
      throw new PickleTruncated(
        'formats/truncated',
        `The pickle in ${file} ends in the middle, at byte ${data.byteLength}.`,
        'Download or write the file again.',
      );
    at += length;
    return at - length;
  };
  const bytes = (length: number): Uint8Array => {
    const from = advance(length);
    return data.subarray(from, from + length);
  };
  const decode = (part: Uint8Array): string => new TextDecoder().decode(part);
  return {
    position: () => at,
    byte: () => view.getUint8(advance(1)),
    uint16: () => view.getUint16(advance(2), true),
    uint32: () => view.getUint32(advance(4), true),
    uint64: () => Number(view.getBigUint64(advance(8), true)),
    int32: () => view.getInt32(advance(4), true),
    float64: () => view.getFloat64(advance(8), false),
    long: (length) => toLong(bytes(length)),
    text: (length) => decode(bytes(length)),
    bytes: (length) => bytes(length).slice(),
    line: () => {
      const end = data.indexOf(0x0a, at);
      const text = decode(bytes((end < 0 ? data.byteLength : end) - at));
      advance(1);
      return text;
    },
    skip: (length) => {
      advance(length);
    },
  };
}

function toLong(bytes: Uint8Array): number | bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
  const signed = BigInt.asIntN(8 * bytes.length, value);
  const number = Number(signed);
  return Number.isSafeInteger(number) ? number : signed;
}
