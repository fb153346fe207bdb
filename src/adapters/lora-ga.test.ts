import { describe, expect, it } from 'vitest';
import { svd } from '../linalg/index.ts';
import { weightFormContract } from './form.contract.ts';
import {
  exported,
  layer,
  maxDifference,
  minus,
  normal,
  outputOf,
  rankOf,
  shaken,
  start,
  weightOf,
  withFactors,
} from './form-checks.contract.ts';
import { lora } from './lora.ts';
import { loraGa } from './lora-ga.ts';

const gradient = normal([9, 12], 8);
const given = { statistics: { gradient } };
const x = normal([4, 12], 3);

weightFormContract(loraGa, { rank: 2, gamma: 4 }, [lora]);

describe('LoRA-GA', () => {
  it('leaves the function as it is at the start', async () => {
    const s = await start(loraGa, layer(9, 12), { rank: 3 }, given);
    expect(maxDifference(s.base, s.original)).toBeGreaterThan(0.01);
    expect(maxDifference(weightOf(s), s.original)).toBeLessThan(1e-5);
  });

  it('takes A from right vectors 1 … r and B from left vectors r + 1 … 2r, scaled by m^¼ / √γ', async () => {
    const s = await start(loraGa, layer(9, 12), { rank: 2, gamma: 5 }, given);
    const { u, vt } = svd({ rows: 9, cols: 12, data: Float64Array.from(gradient.data as Float32Array) });
    const scale = 9 ** 0.25 / Math.sqrt(5);
    const { A, B } = s.factors.trainable;
    for (let i = 0; i < 24; i++) expect(Number(A.data[i])).toBeCloseTo(scale * vt.data[i], 5);
    for (let i = 0; i < 9; i++)
      for (let k = 0; k < 2; k++)
        expect(Number(B.data[i * 2 + k])).toBeCloseTo(scale * u.data[i * 9 + 2 + k], 5);
  });

  it('moves first along the best rank-2r part of the gradient', async () => {
    // ΔW of one step of gradient descent: s² (B Bᵀ G + G Aᵀ A), up to second order.
    const s = await start(loraGa, layer(9, 12), { rank: 2 }, given);
    const { A, B } = s.factors.trainable;
    const h = 1e-4;
    const step = (name: 'A' | 'B') => {
      const own = s.factors.trainable[name];
      const data = new Float32Array(own.data as Float32Array);
      for (let i = 0; i < 9; i++)
        for (let j = 0; j < 12; j++)
          for (let k = 0; k < 2; k++) {
            const g = Number(gradient.data[i * 12 + j]);
            if (name === 'A') data[k * 12 + j] -= h * g * Number(B.data[i * 2 + k]);
            else data[i * 2 + k] -= h * g * Number(A.data[k * 12 + j]);
          }
      return { ...own, data };
    };
    const moved = withFactors(s, { A: step('A'), B: step('B') });
    const change = minus(weightOf(moved), weightOf(s));
    const {
      u,
      s: values,
      vt,
    } = svd({ rows: 9, cols: 12, data: Float64Array.from(gradient.data as Float32Array) });
    const unit = (a: ArrayLike<number>) => {
      const norm = Math.sqrt(Array.from(a).reduce((t, v) => t + v * v, 0));
      return Array.from(a, (v) => v / norm);
    };
    const best = new Float64Array(108);
    for (let i = 0; i < 9; i++)
      for (let j = 0; j < 12; j++)
        for (let k = 0; k < 4; k++) best[i * 12 + j] -= u.data[i * 9 + k] * values[k] * vt.data[k * 12 + j];
    const [a, b] = [unit(change.data as Float64Array), unit(best)];
    expect(a.reduce((t, v, i) => t + v * b[i], 0)).toBeGreaterThan(0.999);
  });

  it('is a LORA of rank 2r on the original weights', async () => {
    const s = shaken(await start(loraGa, layer(9, 12), { rank: 2, alpha: 3 }, given));
    const { options, factors } = lora.fromPeft!(loraGa.toPeft!([exported(s)], s.options), [s.spec]);
    expect(options).toMatchObject({ rank: 4 });
    const again = await start(lora, s.spec, { ...options });
    const same = { ...again, factors: factors.get(s.spec.name)! };
    expect(maxDifference(outputOf(same, x), outputOf(s, x))).toBeLessThan(1e-4);
    expect(rankOf(minus(weightOf(s), s.original), svd)).toBeGreaterThanOrEqual(4);
  });

  it('refuses to start without a gradient, or where 2r exceeds the matrix', async () => {
    await expect(start(loraGa, layer(9, 12), { rank: 2 })).rejects.toMatchObject({
      code: 'adapters/no-gradient',
    });
    await expect(start(loraGa, layer(9, 12), { rank: 5 }, given)).rejects.toMatchObject({
      code: 'adapters/rank',
    });
  });
});
