import type { Cursor } from '../linalg/index.ts';

/**
 * `count` different positions below `size`, ascending, every set of them as likely (Floyd; Bentley and Floyd 1987,
 * "A sample of brilliance"). Memory: a bit a position.
 */
export function drawSupport(size: number, count: number, cursor: Cursor): Int32Array {
  const taken = new Uint8Array(Math.ceil(size / 8));
  const has = (i: number) => (taken[i >> 3] >> (i & 7)) & 1;
  for (let j = size - count; j < size; j++) {
    const drawn = cursor.integer(j + 1);
    const position = has(drawn) ? j : drawn;
    taken[position >> 3] |= 1 << (position & 7);
  }
  const support = new Int32Array(count);
  let found = 0;
  for (let i = 0; found < count; i++) if (has(i)) support[found++] = i;
  return support;
}
