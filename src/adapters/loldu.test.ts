import { describe, expect, it } from 'vitest';
import type { NDArray } from '../graph/index.ts';
import { svd } from '../linalg/index.ts';
import {
  asRead,
  checkForwardIsWeight,
  checkGradients,
  checkShapes,
  counts,
  exported,
  layer,
  maxDifference,
  minus,
  normal,
  rankOf,
  type Started,
  shaken,
  start,
  weightOf,
  withFactors,
} from './form-checks.contract.ts';
import { loldu } from './loldu.ts';
import { lora } from './lora.ts';

const x = normal([3, 6], 3);
const shapes: [number, number][] = [
  [9, 6],
  [5, 6],
  [6, 6],
];

/** L diag(v) U in float64. */
function product({ factors: { frozen } }: Started, v: ArrayLike<number>): NDArray {
  const [m, r] = frozen.L.shape;
  const n = frozen.U.shape[1];
  const data = new Float64Array(m * n).map((_, at) => {
    let t = 0;
    for (let k = 0; k < r; k++)
      t += Number(frozen.L.data[Math.floor(at / n) * r + k]) * v[k] * Number(frozen.U.data[k * n + (at % n)]);
    return t;
  });
  return { dtype: 'float32', shape: [m, n], data };
}

describe('LoLDU', () => {
  it.each(shapes)('factors W₀ = P L diag(d) U: %i×%i', async (m, n) => {
    const k = Math.min(m, n);
    const s = await start(loldu, layer(m, n), { rank: k, alpha: k });
    const { L, U, d } = s.factors.frozen;
    expect(maxDifference(product(s, d.data as Float32Array), s.original)).toBeLessThan(1e-5);
    expect(Math.max(...[...L.data].map((v) => Math.abs(Number(v))))).toBe(1);
    for (let i = 0; i < k; i++) {
      expect(U.data[i * n + i]).toBe(1);
      for (let j = 0; j < i; j++) expect(U.data[i * n + j]).toBe(0);
    }
    // With α = r = k nothing is left over.
    expect(Math.max(...[...s.base.data].map((v) => Math.abs(Number(v))))).toBeLessThan(1e-6);
  });

  it.each(shapes)('starts at W₀ for every r, α and selection: %i×%i', async (m, n) => {
    for (const rank of [1, 3, 5])
      for (const alpha of [1, 8])
        for (const select of ['leading', 'magnitude']) {
          const s = await start(loldu, layer(m, n), { rank, alpha, select });
          expect(maxDifference(weightOf(s), s.original)).toBeLessThan(1e-6);
          checkShapes(s);
          expect(counts(s.factors.trainable)).toBe(rank);
        }
    const scaled = await start(loldu, layer(m, n), { rank: 3, trainScale: true });
    expect(maxDifference(weightOf(scaled), scaled.original)).toBeLessThan(1e-6);
    expect(counts(scaled.factors.trainable)).toBe(4);
    checkShapes(scaled);
  });

  it('keeps the largest pivots where asked', async () => {
    const all = await start(loldu, layer(9, 6), { rank: 6 });
    const few = await start(loldu, layer(9, 6), { rank: 2, select: 'magnitude' });
    const sorted = [...(all.factors.frozen.d.data as Float32Array)].sort((a, b) => Math.abs(b) - Math.abs(a));
    expect([...few.factors.frozen.d.data]).toEqual(sorted.slice(0, 2));
  });

  it('has the starts of the paper', async () => {
    const options = { rank: 6, alpha: 6 };
    const of = async (init: string) => start(loldu, layer(40, 40), { rank: 40, alpha: 40, init });
    const d = (await of('lu')).factors.frozen.d.data as Float32Array;
    const mean = d.reduce((t, v) => t + v, 0) / 40;
    const z = async (init: string) => [...((await of(init)).factors.trainable.z.data as Float32Array)];
    expect(await z('ones')).toEqual(new Array(40).fill(1));
    for (const v of await z('constant')) expect(v).toBeCloseTo(mean, 5);
    expect((await z('uniform')).every((v) => Math.abs(v) <= 1)).toBe(true);
    expect((await z('uniformLike')).every((v) => Math.abs(v) <= Math.abs(mean) / 2)).toBe(true);
    const spread = (a: number[]) => Math.sqrt(a.reduce((t, v) => t + v * v, 0) / a.length);
    expect(spread(await z('normal'))).toBeCloseTo(1, 0);
    const std = spread([...d].map((v) => v - mean));
    expect(spread((await z('normalLike')).map((v) => v - mean)) / std).toBeCloseTo(1, 0);
    const zero = await start(loldu, layer(6, 6), { ...options, init: 'zeros' });
    expect(Math.max(...[...weightOf(zero).data].map((v) => Math.abs(Number(v))))).toBeLessThan(1e-6);
    const rest = await start(loldu, layer(6, 6), { rank: 3, init: 'zeros' });
    expect(maxDifference(weightOf(rest), rest.base)).toBe(0);
  });

  it.each(shapes)(
    'has right gradients, stays within rank r, goes through a LORA file: %i×%i',
    async (m, n) => {
      for (const trainScale of [false, true]) {
        const s = shaken(await start(loldu, layer(m, n), { rank: 3, trainScale }));
        checkGradients(s, x);
        checkForwardIsWeight(s, x);
        expect(rankOf(minus(weightOf(s), s.original), svd)).toBe(3);
        const same = asRead(s, lora, loldu.toPeft!([exported(s)], s.options));
        expect(maxDifference(weightOf(same), weightOf(s))).toBeLessThan(1e-5);
      }
    },
  );

  it('moves W along (P L)ᵢ Uᵢ alone when zᵢ moves', async () => {
    const s = await start(loldu, layer(9, 6), { rank: 4, alpha: 2 });
    const z = (s.factors.trainable.z.data as Float32Array).slice();
    z[2] += 1;
    const moved = withFactors(s, { z: { ...s.factors.trainable.z, data: z } });
    expect(maxDifference(minus(weightOf(moved), weightOf(s)), product(s, [0, 0, 0.5, 0]))).toBeLessThan(1e-6);
  });

  it('stays finite where a pivot is zero', async () => {
    const weight = normal([5, 5], 4);
    for (let i = 0; i < 5; i++) weight.data[i * 5 + 3] = 0;
    const s = await start(loldu, layer(5, 5), { rank: 5 }, { weight });
    expect(s.factors.frozen.d.data[3]).toBe(0);
    expect([...s.factors.frozen.U.data].slice(15, 20)).toEqual([0, 0, 0, 1, 0]);
    expect(maxDifference(weightOf(s), weight)).toBeLessThan(1e-6);
  });

  it('recovers pivots that were rescaled, by descent', async () => {
    let s = await start(loldu, layer(6, 6), { rank: 6, alpha: 6 });
    const d = s.factors.frozen.d.data as Float32Array;
    const wanted = d.map((v, i) => v * (0.5 + 0.3 * i));
    const target = product(s, wanted);
    const { L, U } = s.factors.frozen;
    // ‖L diag(z) U − W*‖² = (z − z*)ᵀ (LᵀL ∘ U Uᵀ) (z − z*): coordinate descent.
    const gram = (a: NDArray, byRow: boolean) => (i: number, j: number) => {
      let t = 0;
      for (let k = 0; k < 6; k++)
        t += Number(a.data[byRow ? i * 6 + k : k * 6 + i]) * Number(a.data[byRow ? j * 6 + k : k * 6 + j]);
      return t;
    };
    const [gl, gu] = [gram(L, false), gram(U, true)];
    const z = Float64Array.from(d);
    for (let step = 0; step < 4000; step++)
      for (let i = 0; i < 6; i++) {
        let g = 0;
        for (let j = 0; j < 6; j++) g += gl(i, j) * gu(i, j) * (z[j] - wanted[j]);
        z[i] -= g / (gl(i, i) * gu(i, i));
      }
    s = withFactors(s, { z: { ...s.factors.trainable.z, data: Float32Array.from(z) } });
    expect(maxDifference(weightOf(s), target)).toBeLessThan(1e-4);
    for (let i = 0; i < 6; i++) expect(z[i]).toBeCloseTo(wanted[i], 3);
  });

  it('refuses more pivots than the matrix has', async () => {
    await expect(start(loldu, layer(5, 6), { rank: 6 })).rejects.toMatchObject({ code: 'adapters/rank' });
  });
});
