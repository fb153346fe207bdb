import { describe, expect, it } from 'vitest';
import { array, type NDArray } from '../graph/index.ts';
import { solve, svd } from '../linalg/index.ts';
import { bone } from './bone.ts';
import {
  asRead,
  counts,
  exported,
  fullGradientOf,
  gradientsOf,
  layer,
  maxDifference,
  minus,
  normal,
  outputOf,
  rankOf,
  type Started,
  shaken,
  start,
  weightOf,
  withFactors,
} from './form-checks.contract.ts';
import { lora } from './lora.ts';

const modes = [
  { mode: 'bat', rank: 4 },
  { mode: 'balance', rank: 4 },
  { mode: 'balance', rank: 5 },
  { mode: 'mini', rank: 4, miniRank: 2 },
];
const [M, N] = [8, 12];
const x = normal([2, 3, N], 3);
const at = (a: NDArray, i: number, j: number) => Number(a.data[i * a.shape[1] + j]);

const K = (s: Started) => s.factors.trainable.K;
const bat = (rank: number, spec = layer(M, N)) => start(bone, spec, { mode: 'bat', rank });

describe('Bone', () => {
  it.each(modes)('starts as the base with a gradient, %o', async (options) => {
    const s = await start(bone, layer(M, N), options);
    expect(weightOf(s).data).toEqual(Float64Array.from(s.original.data as Float32Array));
    expect(gradientsOf(s, x).K.data.every((g) => Number(g) !== 0)).toBe(true);
  });

  it('bat is the double loop over blocks, with the gradient Σ_j (W_ij + I)ᵀ G_ij', async () => {
    const s = shaken(await bat(4));
    const G = fullGradientOf(s, x);
    const [W, derived] = [weightOf(s), gradientsOf(s, x).K];
    const k = (i: number, a: number, b: number) => Number(K(s).data[(i * 4 + a) * 4 + b]);
    for (let i = 0; i < 2; i++) {
      const slopes = new Float64Array(16);
      for (let j = 0; j < 3; j++)
        for (let a = 0; a < 4; a++)
          for (let b = 0; b < 4; b++) {
            let value = at(s.original, 4 * i + a, 4 * j + b) + k(i, a, b);
            for (let c = 0; c < 4; c++) value += at(s.original, 4 * i + a, 4 * j + c) * k(i, c, b);
            expect(at(W, 4 * i + a, 4 * j + b)).toBeCloseTo(value, 6);
            for (let c = 0; c < 4; c++)
              slopes[a * 4 + b] +=
                (at(s.original, 4 * i + c, 4 * j + a) + Number(c === a)) * at(G, 4 * i + c, 4 * j + b);
          }
      for (let e = 0; e < 16; e++) expect(Number(derived.data[i * 16 + e])).toBeCloseTo(slopes[e], 5);
    }
  });

  it('bat of rank 1 scales each row and shifts it: W₀[o,:] (1 + k) + k', async () => {
    const s = shaken(await bat(1));
    const W = weightOf(s);
    for (let o = 0; o < M; o++)
      for (let j = 0; j < N; j++) {
        const k = Number(K(s).data[o]);
        expect(at(W, o, j)).toBeCloseTo(at(s.original, o, j) * (1 + k) + k, 6);
      }
  });

  it('bat with one block reaches any weight: K = (W₀ + I)⁻¹ (W* − W₀)', async () => {
    const s = await bat(M, layer(M, M));
    const target = normal([M, M], 40);
    const a = Float64Array.from(s.original.data as Float32Array, (w, i) => w + Number(i % (M + 1) === 0));
    const b = Float64Array.from(target.data as Float32Array, (w, i) => w - Number(s.original.data[i]));
    const solution = solve({ rows: M, cols: M, data: a }, { rows: M, cols: M, data: b });
    const found = { ...K(s), data: solution.data };
    expect(maxDifference(weightOf(withFactors(s, { K: found })), target)).toBeLessThan(1e-9);
  });

  it('bat changes the weight by more than rank r, the linear modes by r at most', async () => {
    const rank = async (options: Record<string, unknown>) => {
      const s = shaken(await start(bone, layer(M, N), options));
      return rankOf(minus(weightOf(s), s.original), svd);
    };
    expect(await rank({ mode: 'bat', rank: 2 })).toBeGreaterThan(2);
    expect(await rank({ mode: 'balance', rank: 3 })).toBe(3);
    expect(await rank({ mode: 'mini', rank: 3, miniRank: 2 })).toBe(2);
  });

  it.each(modes.slice(1))(
    '%o is a LoRA with tiled identities for A: outputs, weights and steps',
    async (options) => {
      const s = shaken(await start(bone, layer(M, N), options));
      const file = bone.toLora!([exported(s)], s.options);
      const own = asRead(s, lora, file);
      expect(maxDifference(outputOf(own, x), outputOf(s, x))).toBeLessThan(1e-5);
      expect(maxDifference(weightOf(own), weightOf(s))).toBeLessThan(1e-6);
      const { A } = own.factors.trainable;
      for (let j = 0; j < N; j++) expect(at(A, j % options.rank, j)).toBe(1);
      if (options.mode === 'mini') return;
      // ∂B = (∂K)ᵀ: gradient descent on B alone goes the same way.
      const [ours, theirs] = [gradientsOf(s, x).K, gradientsOf(own, x).B];
      for (let o = 0; o < M; o++)
        for (let t = 0; t < options.rank; t++) expect(at(theirs, o, t)).toBeCloseTo(at(ours, t, o), 5);
    },
  );

  it('mini with q = m is balance, and counts m r, m r, q r', async () => {
    const [mini, balance] = [
      await start(bone, layer(M, N), { mode: 'mini', rank: 4, miniRank: M }),
      await start(bone, layer(M, N), { mode: 'balance', rank: 4 }),
    ].map((s) => shaken(s));
    expect(maxDifference(weightOf(mini), weightOf(balance))).toBe(0);
    const sizes = await Promise.all(
      modes.map(async (o) => counts((await start(bone, layer(M, N), o)).factors.trainable)),
    );
    expect(sizes).toEqual([M * 4, M * 4, M * 5, 2 * 4]);
  });

  it('bat can be undone: (W_ij − K_i)(I + K_i)⁻¹', async () => {
    const s = shaken(await bat(4), 0.05);
    const W = weightOf(s);
    for (let i = 0; i < 2; i++) {
      // Solves (I + K)ᵀ Xᵀ = (W − K)ᵀ.
      const k = (a: number, b: number) => Number(K(s).data[(i * 4 + a) * 4 + b]);
      const left = Float64Array.from(
        { length: 16 },
        (_, e) => k(e % 4, Math.floor(e / 4)) + Number(e % 5 === 0),
      );
      for (let j = 0; j < 3; j++) {
        const right = Float64Array.from({ length: 16 }, (_, e) => {
          const [b, a] = [Math.floor(e / 4), e % 4];
          return at(W, 4 * i + a, 4 * j + b) - k(a, b);
        });
        const back = solve({ rows: 4, cols: 4, data: left }, { rows: 4, cols: 4, data: right });
        for (let a = 0; a < 4; a++)
          for (let b = 0; b < 4; b++)
            expect(back.data[b * 4 + a]).toBeCloseTo(at(s.original, 4 * i + a, 4 * j + b), 5);
      }
    }
  });

  it('cuts the last copy where r does not divide n', async () => {
    const s = shaken(await start(bone, layer(M, N), { mode: 'balance', rank: 5 }));
    const W = weightOf(s);
    for (let o = 0; o < M; o++)
      for (let j = 0; j < N; j++)
        expect(at(W, o, j)).toBeCloseTo(at(s.original, o, j) + at(K(s), j % 5, o), 6);
  });

  it('refuses what does not fit, naming the layer', async () => {
    const fails = (options: Record<string, unknown>) => expect(start(bone, layer(M, N), options)).rejects;
    await fails({ mode: 'bat', rank: 3 }).toMatchObject({
      code: 'adapters/not-divisible',
      message: expect.stringContaining('h.0.m8x12'),
    });
    await fails({ mode: 'bat', rank: 8 }).toMatchObject({ remedy: expect.stringContaining('rank 4,') });
    await fails({ mode: 'mini', rank: 4, miniRank: 3 }).toMatchObject({ code: 'adapters/not-divisible' });
    expect(bone.options.safeParse({ mode: 'mini' }).success).toBe(false);
    expect(bone.options.safeParse({ mode: 'bat', miniRank: 2 }).success).toBe(false);
    expect(bone.options.safeParse({ mode: 'bat', dropout: 0.1 }).success).toBe(false);
    const s = await bat(4);
    expect(() => bone.toLora!([exported(s)], s.options)).toThrow(
      expect.objectContaining({ code: 'adapters/no-lora' }),
    );
  });

  it("reads files of PEFT's old type BONE", async () => {
    const s = shaken(await bat(4));
    const { config, tensors } = bone.toPeft!([exported(s)], s.options);
    const old = Object.fromEntries(
      Object.entries(tensors).map(([name, a]) => [name.replace('miss_', 'bone_'), a]),
    );
    const read = bone.fromPeft!({ config: { ...config, peft_type: 'BONE' }, tensors: old }, [s.spec]);
    expect(read.factors.get(s.spec.name)!.trainable.K).toEqual(K(s));
    expect(read.options).toMatchObject({ mode: 'bat', rank: 4 });
  });

  it('drops the input of its own path only, in the linear modes', async () => {
    const s = shaken(await start(bone, layer(M, N), { mode: 'balance', rank: 4, dropout: 0.5 }));
    const drop = array(
      Array.from(x.data as Float32Array, (_, i) => (i % 3 === 0 ? 0 : 2)),
      x.shape,
    );
    const dropped = array(
      Array.from(x.data as Float32Array, (v, i) => Number(v) * Number(drop.data[i])),
      x.shape,
    );
    const plain = outputOf(await start(bone, layer(M, N), { mode: 'balance', rank: 4 }), x);
    const all = outputOf(s, dropped);
    const base = outputOf(await start(bone, layer(M, N), { mode: 'balance', rank: 4 }), dropped);
    const expected = {
      ...plain,
      data: Float64Array.from(
        Array.from(
          plain.data as Float32Array,
          (v, i) => Number(v) + Number(all.data[i]) - Number(base.data[i]),
        ),
      ),
    };
    expect(maxDifference(outputOf(s, x, { training: true, drop }), expected)).toBeLessThan(1e-9);
  });
});
