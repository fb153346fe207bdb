import { codeEdges, dynamicCodes } from './eight-bit.ts';

/** How many of a float32's bits lie behind those by which its code is looked up. */
export interface Encoding {
  readonly signed: boolean;
  readonly shift: number;
}

// Sign, exponent and as much of the mantissa as parts the closest edges.
export const OF_M: Encoding = { signed: true, shift: 17 };
export const OF_V: Encoding = { signed: false, shift: 16 };

export function entryBytes({ shift }: Encoding): number {
  return 4 * 2 ** (32 - shift);
}

/**
 * Codes of numbers: entry k serves those whose ordered bits begin with the bits k. There is at most one edge between
 * codes among them, so that (entry + the other bits) >> shift is the code: what lies above the edge carries.
 */
export function codeEntries({ signed, shift }: Encoding): Uint32Array {
  const edges = codeEdges(dynamicCodes(signed));
  const ordered = Array.from(new Int32Array(edges.buffer), inOrder);
  const others = 2 ** shift - 1;
  const entries = new Uint32Array(2 ** (32 - shift));
  let code = 0;
  for (let k = -entries.length / 2; k < entries.length / 2; k++) {
    const hasEdge = ordered[code] >> shift === k;
    const carry = hasEdge ? others - (ordered[code] & others) : 0;
    entries[k < 0 ? k + entries.length : k] = code * 2 ** shift + carry;
    if (hasEdge) code++;
  }
  return entries;
}

/** The bits of a float32 as an integer in the order of the numbers. */
function inOrder(bits: number): number {
  return bits ^ ((bits >> 31) & 0x7fff_ffff);
}
