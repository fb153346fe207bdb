import type { NDArray } from '../graph/index.ts';

/**
 * Takes only a share of the updates that follow a restart: a warm-up of the rate for these tensors alone, exact for
 * every optimizer whose step is proportional to the rate.
 */
export interface WarmRestart {
  /** Remembers tensors before an update of which they will take `share`. */
  keep(arrays: readonly NDArray[], share: number): void;
  /** Shortens the update of the tensors that were kept, and forgets them. */
  shorten(): void;
}

export function warmRestart(): WarmRestart {
  const before = new Map<NDArray, { kept: Float32Array; share: number }>();
  return {
    keep(arrays, share) {
      if (share === 1) return;
      for (const a of arrays) before.set(a, { kept: (a.data as Float32Array).slice(), share });
    },
    shorten() {
      for (const [a, { kept, share }] of before)
        for (let i = 0; i < kept.length; i++) a.data[i] = kept[i] + share * (Number(a.data[i]) - kept[i]);
      before.clear();
    },
  };
}
