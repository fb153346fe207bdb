import type { PartialReset } from '../adapters/index.ts';
import { type NDArray, sizeOf } from '../graph/index.ts';
import type { Random } from '../linalg/index.ts';
import { BLOCK, dynamicCodes } from './eight-bit.ts';
import type { ParameterInfo, UpdateRule } from './optimizer.ts';

/** A rule's live state. */
export interface LiveState {
  /** Undefined while the rule holds none. */
  array(name: string): NDArray | undefined;
  random(name: string): Random;
}

/**
 * Zeroes a part of what a rule keeps of a parameter's gradients, each average by itself (ReLoRA's partial reset, Lialin et
 * al. 2024, arXiv 2307.05695, section 3). Averages in 8 bits too; bases, norms and other state stay.
 */
export function pruneMoments(rule: UpdateRule, parameter: string, part: PartialReset, live: LiveState): void {
  const info = rule.parameters.find((p) => p.name === parameter);
  if (!info) return;
  for (const [name, { moment }] of Object.entries(rule.state)) {
    if (!moment || !isOf(rule, info, name)) continue;
    const array = live.array(name);
    if (!array || (part.moments === 'first' && moment === 2)) continue;
    const values =
      array.dtype === 'uint8' ? inBytes(array, moment, scaleOf(name, live), info) : floats(array);
    const goes = part.prune ? pruned(values, part.prune, live.random(name)) : () => true;
    for (let i = 0; i < values.size; i++) if (goes(i)) values.clear(i);
  }
}

/** States of a rule that moves both factors are named with the factor behind. */
function isOf(rule: UpdateRule, { factor }: ParameterInfo, name: string): boolean {
  return rule.parameters.length === 1 || name.endsWith(factor!);
}

function scaleOf(name: string, live: LiveState): Float32Array {
  return live.array(name.replace(/^[a-z]+/, '$&Scale'))!.data as Float32Array;
}

/** An average's entries, however they are kept. */
interface Entries {
  readonly size: number;
  magnitude(i: number): number;
  clear(i: number): void;
}

function floats({ data }: NDArray): Entries {
  return {
    size: data.length,
    magnitude: (i) => Math.abs(Number(data[i])),
    clear: (i) => {
      data[i] = 0;
    },
  };
}

function inBytes({ data }: NDArray, moment: 1 | 2, scales: Float32Array, { shape }: ParameterInfo): Entries {
  const codes = dynamicCodes(moment === 1);
  const zero = codes.indexOf(0);
  // The last block is filled up; a projected average has a size of its own.
  const filling = data.length - sizeOf(shape);
  return {
    size: filling >= 0 && filling < BLOCK ? sizeOf(shape) : data.length,
    magnitude: (i) => Math.abs(codes[Number(data[i])] * scales[Math.floor(i / BLOCK)]),
    clear: (i) => {
      data[i] = zero;
    },
  };
}

type Prune = NonNullable<PartialReset['prune']>;

function pruned(entries: Entries, { share, by }: Prune, random: Random): (i: number) => boolean {
  if (by === 'magnitude') {
    const least = quantile(
      Float64Array.from({ length: entries.size }, (_, i) => entries.magnitude(i)),
      share,
    );
    return (i) => entries.magnitude(i) <= least;
  }
  const drawn = new Float32Array(entries.size);
  random.fillUniform(drawn);
  return (i) => drawn[i] <= share;
}

/** Between neighbours linearly, as torch.quantile; sorts in place. */
function quantile(values: Float64Array, share: number): number {
  values.sort();
  const at = share * (values.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, values.length - 1);
  return values[below] + (at - below) * (values[above] - values[below]);
}
