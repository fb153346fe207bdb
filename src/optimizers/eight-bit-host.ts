import { BLOCK, codeEdges, dynamicCodes } from './eight-bit.ts';
import type { HostInputs } from './optimizer.ts';

/** Bits of a float32 that pick an entry of the first guess: sign, exponent and 8 of the mantissa. */
const DROPPED = 15;

/** Nearest codes of a block of values. */
export interface Coder {
  readonly codes: Float32Array;
  /** The block, each value in [−1, 1]. */
  readonly values: Float32Array;
  /** The same memory as integers. */
  readonly bits: Int32Array;
  readonly guess: Uint8Array;
  /** Where the next code begins, as an integer in the order of the numbers. */
  readonly places: Int32Array;
}

export function coder(signed: boolean): Coder {
  const codes = dynamicCodes(signed);
  const edges = codeEdges(codes);
  const places = new Int32Array(codes.length).fill(2 ** 31 - 1);
  for (const [i, bits] of new Int32Array(edges.buffer).entries()) places[i] = order(bits);
  const values = new Float32Array(BLOCK);
  return { codes, values, bits: new Int32Array(values.buffer), guess: firstGuesses(edges), places };
}

/**
 * Writes the codes of the coder's block. A first guess from the leading bits, then at most one step upwards: numbers
 * that begin alike have at most one edge between them. No search and no branch: it would be taken at random.
 */
export function encode({ bits, guess, places }: Coder, into: Uint8Array, at: number): void {
  for (let i = 0; i < BLOCK; i++) {
    const code = guess[bits[i] >>> DROPPED];
    into[at + i] = code + ((places[code] - order(bits[i])) >>> 31);
  }
}

/** The bits of a float32 as an integer in the order of the numbers. */
function order(bits: number): number {
  return bits ^ ((bits >> 31) & 0x7fff_ffff);
}

/** The code of the smallest number that begins with these bits. */
function firstGuesses(edges: Float32Array): Uint8Array {
  const entries = 2 ** (32 - DROPPED);
  const number = new Float32Array(1);
  const bits = new Uint32Array(number.buffer);
  const guess = new Uint8Array(entries);
  for (let key = 0; key < entries; key++) {
    const negative = key >= entries / 2;
    bits[0] = ((key << DROPPED) | (negative ? 2 ** DROPPED - 1 : 0)) >>> 0;
    guess[key] = countBelow(edges, number[0]);
  }
  return guess;
}

function countBelow(edges: Float32Array, x: number): number {
  let code = 0;
  for (let step = 128; step >= 1; step /= 2) if (x > edges[code + step - 1]) code += step;
  return code;
}

export interface Adam8Options {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly decay: number;
}

let coders: { m: Coder; v: Coder } | undefined;

/** AdamW (torch form) on 8-bit moments, block by block in place: what the program says, in one pass over memory. */
export function adam8OnHost(
  { parameters, gradients, state, rate, step, clip }: HostInputs,
  o: Adam8Options,
): void {
  coders ??= { m: coder(true), v: coder(false) };
  const w = parameters[0].data as Float32Array;
  const g = gradients[0].data as Float32Array;
  const [m, v] = [state.m.data as Uint8Array, state.v.data as Uint8Array];
  const [mScale, vScale] = [state.mScale.data as Float32Array, state.vScale.data as Float32Array];
  const moment = 1 / (1 - o.beta1 ** step);
  const root = 1 / Math.sqrt(1 - o.beta2 ** step);
  const { codes: mCodes, values: firsts } = coders.m;
  const { codes: vCodes, values: seconds } = coders.v;
  const { beta1, beta2, epsilon, decay } = o;
  for (let block = 0, at = 0; at < w.length; block++, at += BLOCK) {
    const count = Math.min(BLOCK, w.length - at);
    const [mBy, vBy] = [mScale[block] * beta1, vScale[block] * beta2];
    let mMost = 0;
    let vMost = 0;
    for (let i = 0; i < count; i++) {
      const j = at + i;
      const x = g[j] * clip;
      const first = mCodes[m[j]] * mBy + (1 - beta1) * x;
      const second = vCodes[v[j]] * vBy + (1 - beta2) * x * x;
      mMost = Math.max(mMost, Math.abs(first));
      vMost = Math.max(vMost, second);
      firsts[i] = first;
      seconds[i] = second;
      w[j] -= rate * ((first * moment) / (Math.sqrt(second) * root + epsilon) + decay * w[j]);
    }
    mScale[block] = mMost;
    vScale[block] = vMost;
    store(coders.m, count, mMost, m, at);
    store(coders.v, count, vMost, v, at);
  }
}

/** Values of a block that is not full end in zeros, as in the program. */
function store(by: Coder, count: number, most: number, into: Uint8Array, at: number): void {
  const { values } = by;
  const scale = most > 0 ? 1 / most : 1;
  for (let i = 0; i < count; i++) values[i] *= scale;
  if (count < BLOCK) values.fill(0, count);
  encode(by, into, at);
}
