/**
 * Philox4x32-10: a counter-based generator of Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
 * as 1, 2, 3" (SC 2011), section 3.3 and the authors' Random123 library. Integer arithmetic only, so every
 * JavaScript engine gives the same bits.
 */

/** Round multipliers 0xD2511F53 and 0xCD9E8D57 as 16-bit halves: their 32x32 products are built from 16x16 ones. */
const M0_LOW = 0x1f53;
const M0_HIGH = 0xd251;
const M1_LOW = 0x8d57;
const M1_HIGH = 0xcd9e;
const M0 = 0xd2511f53 | 0;
const M1 = 0xcd9e8d57 | 0;
/** Weyl increments of the two key words: the golden ratio and sqrt(3) - 1. */
const W0 = 0x9e3779b9 | 0;
const W1 = 0xbb67ae85 | 0;
const ROUNDS = 10;

/** Two 32-bit words. */
export type Key = readonly [number, number];

/** Four 32-bit words, the lowest first. */
export type Counter = readonly [number, number, number, number];

/**
 * Writes the blocks of `counter`, `counter + 1`, …, four words each, until `out` is full. The count carries
 * from the first counter word into the second, not further.
 * @param out length a multiple of 4
 */
export function philox(out: Uint32Array, key: Key, counter: Counter): void {
  let low = counter[0] | 0;
  let high = counter[1] | 0;
  for (let at = 0; at < out.length; at += 4) {
    let x0 = low;
    let x1 = high;
    let x2 = counter[2] | 0;
    let x3 = counter[3] | 0;
    let k0 = key[0] | 0;
    let k1 = key[1] | 0;
    for (let round = 0; round < ROUNDS; round++) {
      // The high halves of M0 * x0 and M1 * x2, schoolbook in base 2^16: no partial sum passes 2^32.
      const a0 = x0 & 0xffff;
      const a1 = x0 >>> 16;
      const u0 = (Math.imul(a1, M0_LOW) + (Math.imul(a0, M0_LOW) >>> 16)) | 0;
      const v0 = (Math.imul(a0, M0_HIGH) + (u0 & 0xffff)) | 0;
      const high0 = (Math.imul(a1, M0_HIGH) + (u0 >>> 16) + (v0 >>> 16)) | 0;
      const b0 = x2 & 0xffff;
      const b1 = x2 >>> 16;
      const u1 = (Math.imul(b1, M1_LOW) + (Math.imul(b0, M1_LOW) >>> 16)) | 0;
      const v1 = (Math.imul(b0, M1_HIGH) + (u1 & 0xffff)) | 0;
      const high1 = (Math.imul(b1, M1_HIGH) + (u1 >>> 16) + (v1 >>> 16)) | 0;
      const low0 = Math.imul(x0, M0);
      x0 = high1 ^ x1 ^ k0;
      x1 = Math.imul(x2, M1);
      x2 = high0 ^ x3 ^ k1;
      x3 = low0;
      k0 = (k0 + W0) | 0;
      k1 = (k1 + W1) | 0;
    }
    out[at] = x0;
    out[at + 1] = x1;
    out[at + 2] = x2;
    out[at + 3] = x3;
    low = (low + 1) | 0;
    if (low === 0) high = (high + 1) | 0;
  }
}

/** FNV-1a, 64 bits, of the UTF-8 bytes of `text`: [low word, high word]. */
export function fnv1a64(text: string): Key {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return split64(hash);
}

/** The low and the high 32 bits of an integer taken modulo 2^64. */
export function split64(value: bigint): Key {
  const v = BigInt.asUintN(64, value);
  return [Number(v & 0xffff_ffffn), Number(v >> 32n)];
}

/** The same for a number: an integer in [0, 2^53). */
export function splitSafe(value: number): Key {
  return [value >>> 0, Math.floor(value / 2 ** 32)];
}
