import { describe, expect, it } from 'vitest';
import { svd } from '../linalg/index.ts';
import { weightFormContract } from './form.contract.ts';
import {
  counts,
  gradientsOf,
  layer,
  matmulFlops,
  minus,
  normal,
  rankOf,
  start,
  trace,
  weightOf,
} from './form-checks.contract.ts';
import { lowRank } from './low-rank.ts';

const x = normal([5, 12], 3);

for (const init of ['normal', 'spectral']) weightFormContract(lowRank, { rank: 4, init }, [lowRank]);

describe('low-rank training', () => {
  it.each(['kaiming', 'normal', 'spectral'])(
    'has weights of rank r, and both factors learn at once: %s',
    async (init) => {
      const s = await start(lowRank, layer(9, 12), { rank: 3, init });
      expect(rankOf(weightOf(s), svd)).toBe(3);
      expect(counts(s.factors.trainable)).toBe(3 * 21);
      const g = gradientsOf(s, x);
      for (const name of ['A', 'B']) expect(g[name].data.some((v) => Number(v) !== 0)).toBe(true);
    },
  );

  it('never multiplies by W₀', async () => {
    const s = await start(lowRank, layer(9, 12), { rank: 3 });
    expect(matmulFlops([trace(s, x).y])).toBe(2 * 5 * 3 * (9 + 12));
  });

  it('starts from Kaiming’s bounds, or at the spread of a fresh weight', async () => {
    const k = await start(lowRank, layer(60, 80), { rank: 20 });
    const most = (a: { data: ArrayLike<number | bigint> }) =>
      Math.max(...Array.from(a.data, (v) => Math.abs(Number(v))));
    expect(most(k.factors.trainable.A)).toBeLessThanOrEqual(1 / Math.sqrt(80));
    expect(most(k.factors.trainable.A)).toBeGreaterThan(0.95 / Math.sqrt(80));
    expect(most(k.factors.trainable.B)).toBeLessThanOrEqual(1 / Math.sqrt(20));
    expect(most(k.factors.trainable.B)).toBeGreaterThan(0.95 / Math.sqrt(20));
    for (const alpha of [8, 32]) {
      const n = await start(lowRank, layer(60, 80), { rank: 20, init: 'normal', alpha });
      const w = weightOf(n).data as Float64Array;
      const std = Math.sqrt(w.reduce((t, v) => t + v * v, 0) / w.length);
      expect(std / 0.02).toBeGreaterThan(0.9);
      expect(std / 0.02).toBeLessThan(1.1);
    }
  });

  it('loses only the small singular values of W₀ where it starts from the large ones, split evenly', async () => {
    const s = await start(lowRank, layer(9, 12), { rank: 3, init: 'spectral' });
    const w = s.original;
    const { s: values } = svd({ rows: 9, cols: 12, data: Float64Array.from(w.data as Float32Array) });
    const rest = minus(weightOf(s), w).data as Float64Array;
    const error = rest.reduce((t, v) => t + v * v, 0);
    expect(error).toBeCloseTo(
      values.slice(3).reduce((t, v) => t + v * v, 0),
      3,
    );
    const { A, B } = s.factors.trainable;
    for (let k = 0; k < 3; k++) {
      let [a, b] = [0, 0];
      for (let j = 0; j < 12; j++) a += Number(A.data[k * 12 + j]) ** 2;
      for (let i = 0; i < 9; i++) b += Number(B.data[i * 3 + k]) ** 2;
      expect(a).toBeCloseTo((values[k] * 3) / 32, 4);
      expect(b).toBeCloseTo(a, 4);
    }
  });
});
