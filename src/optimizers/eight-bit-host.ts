import type { NDArray } from '../graph/index.ts';
import { hfAdam, type Moments, torchAdam } from './adam-forms.ts';
import { BLOCK } from './eight-bit.ts';
import { instantiate, type Kernel } from './eight-bit-kernel.ts';
import { CHUNK, PLACES, type Singles, singlesInMemory } from './eight-bit-layout.ts';
import type { HostInputs } from './optimizer.ts';

export interface Adam8Options extends Moments {
  readonly decay: number;
  /** As in `adamwOptions`. */
  readonly form: 'torch' | 'hf';
  /** Multiplies the rate of the direction, but not of the decay (default 1). */
  readonly factor?: number;
}

/** AdamW on 8-bit moments, in place: what the program says, in one pass over memory and in float32. */
export function adam8OnHost(
  { parameters, gradients, state, rate, step, clip }: Omit<HostInputs, 'compute' | 'scratch'>,
  { form, decay: share, factor = 1, ...o }: Adam8Options,
): void {
  const own = (form === 'torch' ? torchAdam(o) : hfAdam(o)).at(step);
  const decay = rate * share;
  // The hf form decays the weight as it is after the step.
  const size = rate * factor * (form === 'torch' ? 1 : 1 - decay);
  adam8(parameters[0], gradients[0], state, { ...own, step: size * own.step, clip, decay });
}

/** The code of 0. */
const ZERO = { m: 127, v: 0 } as const;

let kernel: { update: Kernel['update']; floats: Float32Array; bytes: Uint8Array } | undefined;

function ready() {
  if (!kernel) {
    const { update, memory } = instantiate();
    kernel = { update, floats: new Float32Array(memory.buffer), bytes: new Uint8Array(memory.buffer) };
  }
  return kernel;
}

/** Moves `weights` by Adam on 8-bit moments `m` and `v`, chunk by chunk through the kernel's memory. */
export function adam8(
  weights: NDArray,
  gradient: NDArray,
  state: Readonly<Record<string, NDArray>>,
  singles: Singles,
): void {
  const { floats, bytes, update } = ready();
  const w = weights.data as Float32Array;
  const moments = ['m', 'v'] as const;
  floats.set(singlesInMemory(singles), PLACES.singles / 4);
  for (let at = 0; at < w.length; at += CHUNK) {
    const count = Math.min(CHUNK, w.length - at);
    const blocks = Math.ceil(count / BLOCK);
    load(floats, PLACES.w, w, at, count, blocks);
    load(floats, PLACES.g, gradient.data as Float32Array, at, count, blocks);
    for (const name of moments) {
      const codes = state[name].data as Uint8Array;
      const scales = state[`${name}Scale`].data as Float32Array;
      bytes.set(codes.subarray(at, at + count), PLACES[name]);
      bytes.fill(ZERO[name], PLACES[name] + count, PLACES[name] + blocks * BLOCK);
      floats.set(scales.subarray(at / BLOCK, at / BLOCK + blocks), PLACES[`${name}Scale`] / 4);
    }
    update(blocks);
    w.set(part(floats, PLACES.w / 4, count), at);
    for (const name of moments) {
      (state[name].data as Uint8Array).set(part(bytes, PLACES[name], blocks * BLOCK), at);
      (state[`${name}Scale`].data as Float32Array).set(
        part(floats, PLACES[`${name}Scale`] / 4, blocks),
        at / BLOCK,
      );
    }
  }
}

function part<T extends Float32Array | Uint8Array>(all: T, from: number, count: number): T {
  return all.subarray(from, from + count) as T;
}

/** A last block that is not full ends in zeros. */
function load(
  floats: Float32Array,
  place: number,
  from: Float32Array,
  at: number,
  count: number,
  blocks: number,
): void {
  floats.set(from.subarray(at, at + count), place / 4);
  if (count < blocks * BLOCK) floats.fill(0, place / 4 + count, place / 4 + blocks * BLOCK);
}
