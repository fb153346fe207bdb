import { describe, expect, it } from 'vitest';
import { svd } from '../linalg/index.ts';
import {
  exported,
  layer,
  maxDifference,
  minus,
  normal,
  rankOf,
  type Started,
  start,
  weightOf,
} from './form-checks.contract.ts';
import { relora } from './relora.ts';
import { adapted, emptyLog, stepInfo } from './run-steps.contract.ts';

/** Runs updates that add noise to the factors; W₀ follows what the form merges. */
async function run(
  options: Record<string, unknown>,
  total: number,
  seen: (s: Started, step: number) => void,
) {
  let s = await start(relora, layer(9, 12), { rank: 2, ...options });
  const own = adapted(s);
  const steps = relora.steps!(s.options, [own]);
  const log = emptyLog();
  const shares: number[] = [];
  for (let step = 0; step < total; step++) {
    const before = weightOf(s);
    const merged = log.added.length;
    const info = stepInfo([own], step, { log });
    await steps.beforeStep!(info);
    if (log.added.length > merged) {
      const base = { ...s.base, data: (s.base.data as Float32Array).slice() };
      const { delta } = log.added[merged];
      for (let i = 0; i < base.data.length; i++) base.data[i] = Number(base.data[i]) + Number(delta.data[i]);
      s = { ...s, base };
      // Merging changes no output.
      expect(maxDifference(weightOf(s), before)).toBeLessThan(1e-5);
      expect([...own.trainable.B.data].every((v) => v === 0)).toBe(true);
    }
    for (const [i, a] of Object.values(own.trainable).entries()) {
      const noise = normal(a.shape, 100 * step + i, 0.3).data as Float32Array;
      for (let k = 0; k < noise.length; k++) (a.data as Float32Array)[k] += noise[k];
    }
    shares.push(steps.rate!({ step, total: 100, scheduled: () => 1, factor: true }));
    expect(steps.rate!({ step, total: 100, scheduled: (t) => t, factor: false })).toBe(step);
    seen(s, step);
  }
  return { log, shares, s };
}

describe('ReLoRA', () => {
  it('changes W by one rank r more with each cycle, up to the whole', async () => {
    await run({ every: 3, warmup: 0 }, 18, (s, step) => {
      const rank = rankOf(minus(weightOf(s), s.original), svd);
      expect(rank).toBe(Math.min(2 * (Math.floor(step / 3) + 1), 9));
    });
  });

  it('starts the optimizer anew at each merge and warms up again, the first cycle aside', async () => {
    const { log, shares } = await run({ every: 4, warmup: 3 }, 12, () => {});
    expect(log.resets).toEqual([4, 8].flatMap((t) => [`${t}:h.0.m9x12#A`, `${t}:h.0.m9x12#B`]));
    const wanted = [1, 1, 1, 1, 0.25, 0.5, 0.75, 1, 0.25, 0.5, 0.75, 1];
    shares.forEach((v, i) => {
      expect(v).toBeCloseTo(wanted[i], 4);
    });
    expect(log.reports['relora/merges']).toBe(2);
  });

  it('prunes the moments where it is asked to, and lets their count go on', async () => {
    for (const reset of ['magnitude', 'random']) {
      const { log } = await run({ every: 4, reset, pruned: 0.9 }, 6, () => {});
      expect(log.resets).toEqual(['4:h.0.m9x12#A', '4:h.0.m9x12#B']);
      expect(log.parts).toEqual([1, 2].map(() => ({ prune: { share: 0.9, by: reset } })));
    }
    expect((await run({ every: 4 }, 6, () => {})).log.parts).toEqual([]);
  });

  it('draws other directions in each cycle, the same in each run', async () => {
    const drawn = async () => {
      const first: number[] = [];
      await run({ every: 2, warmup: 0 }, 6, (s) => first.push(Number(s.factors.trainable.A.data[3])));
      return first;
    };
    const [a, b] = [await drawn(), await drawn()];
    expect(a).toEqual(b);
    expect(new Set(a).size).toBe(6);
  });

  it('has no file relative to the first W₀: the merged model is the result', async () => {
    expect(relora.toPeft).toBeUndefined();
    const { s } = await run({ every: 2 }, 3, () => {});
    expect(exported(s).arrays.A.shape).toEqual([2, 12]);
  });
});
