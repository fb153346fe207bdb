import type { NDArray } from '../graph/index.ts';

/**
 * Takes only a share of the updates that follow a restart: a warm-up of the rate for these tensors alone, exact for
 * every optimizer whose step is proportional to the rate.
 */
export interface WarmRestart {
  /** Remembers the tensors before an update that will be shortened. */
  keep(arrays: readonly NDArray[]): void;
  /** Shortens the update of the tensors that were kept, and forgets them. */
  shorten(share: number): void;
}

export function warmRestart(): WarmRestart {
  const before = new Map<NDArray, Float32Array>();
  return {
    keep(arrays) {
      for (const a of arrays) before.set(a, (a.data as Float32Array).slice());
    },
    shorten(share) {
      for (const [a, kept] of before)
        for (let i = 0; i < kept.length; i++) a.data[i] = kept[i] + share * (Number(a.data[i]) - kept[i]);
      before.clear();
    },
  };
}
