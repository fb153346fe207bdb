import { describe, expect, it } from 'vitest';
import type { NDArray } from '../graph/index.ts';
import { matrix, multiply, qr, random, transpose } from '../linalg/index.ts';
import { type DyloraOptions, drawRank, dylora, setPrefix } from './dylora.ts';
import { weightFormContract } from './form.contract.ts';
import {
  exported,
  gradientsOf,
  layer,
  maxDifference,
  normal,
  outputOf,
  type Started,
  shaken,
  start,
  weightOf,
} from './form-checks.contract.ts';
import { lora } from './lora.ts';
import { adapted, emptyLog, stepInfo } from './run-steps.contract.ts';

const x = normal([5, 12], 3);
const RANK = 4;

for (const options of [{ mode: 'all' }, { prefixScale: 'const', servedRank: 2 }])
  weightFormContract(dylora, { rank: RANK, ...options }, [lora]);

/** A plain LoRA of the first b ranks, scaled by s. */
async function cut(s: Started, b: number, scale: number): Promise<Started> {
  const plain = await start(lora, s.spec, { rank: b, alpha: scale * b });
  const { A, B } = s.factors.trainable;
  const trainable = {
    A: { ...A, shape: [b, A.shape[1]], data: (A.data as Float32Array).slice(0, b * A.shape[1]) },
    B: { ...B, shape: [B.shape[0], b], data: (B.data as Float32Array).filter((_, i) => i % RANK < b) },
  };
  return { ...plain, factors: { trainable, frozen: {} } };
}

const begun = (more: Record<string, unknown> = {}) =>
  start(dylora, layer(8, 12), { rank: RANK, alpha: 6, ...more });

describe('DyLoRA', () => {
  it.each([1, 2, 3, 4])('trains and serves the first %i ranks as the LoRA of that rank', async (b) => {
    for (const prefixScale of ['perRank', 'const'] as const) {
      const s = shaken(await begun({ mode: 'all', prefixScale, servedRank: b }));
      setPrefix(s.factors.frozen, s.options as DyloraOptions, b);
      const twin = await cut(s, b, prefixScale === 'perRank' ? 6 / b : 6 / RANK);
      expect(maxDifference(outputOf(s, x, { training: true }), outputOf(twin, x))).toBeLessThan(1e-6);
      expect(maxDifference(outputOf(s, x), outputOf(twin, x))).toBeLessThan(1e-12);
      const read = lora.fromPeft!(dylora.toPeft!([exported(s)], s.options), [s.spec]);
      const written = await start(lora, s.spec, { ...read.options });
      expect(
        maxDifference(weightOf({ ...written, factors: read.factors.get(s.spec.name)! }), weightOf(twin)),
      ).toBeLessThan(1e-6);
      const [own, theirs] = [gradientsOf(s, x), gradientsOf(twin, x)];
      const [n, m] = [12, 8];
      for (let k = 0; k < RANK; k++) {
        for (let j = 0; j < n; j++)
          expect(own.A.data[k * n + j]).toBeCloseTo(k < b ? Number(theirs.A.data[k * n + j]) : 0, 5);
        for (let i = 0; i < m; i++)
          expect(own.B.data[i * RANK + k]).toBeCloseTo(k < b ? Number(theirs.B.data[i * b + k]) : 0, 5);
      }
    }
  });

  it('gives gradient to the last rank of the prefix alone where frozen, the same as otherwise', async () => {
    const frozen = shaken(await begun());
    const all = shaken(await begun({ mode: 'all' }));
    for (let b = 1; b <= RANK; b++) {
      for (const s of [frozen, all]) setPrefix(s.factors.frozen, s.options as DyloraOptions, b);
      const [own, whole] = [gradientsOf(frozen, x), gradientsOf(all, x)];
      for (const [name, rankOf] of [
        ['A', (i: number) => Math.floor(i / 12)],
        ['B', (i: number) => i % RANK],
      ] as const)
        own[name].data.forEach((v: number | bigint, i: number) => {
          if (rankOf(i) !== b - 1) expect(Math.abs(Number(v))).toBe(0);
          else expect(Number(v)).toBeCloseTo(Number(whole[name].data[i]), 9);
        });
    }
  });

  it('draws one prefix a step for all layers, anew each step, the same from the same seed', async () => {
    const layers = (await Promise.all([begun(), start(dylora, layer(5, 6), { rank: RANK })])).map(adapted);
    const steps = dylora.steps!(layers[0].options, layers);
    const log = emptyLog();
    const run = async () => {
      const drawn: number[] = [];
      for (let t = 0; t < 30; t++) {
        await steps.beforeStep!(stepInfo(layers, t, { log }));
        const used = layers.map((l) => [...l.frozen.prefix.data].filter((v) => Number(v) > 0).length);
        expect(used[0]).toBe(used[1]);
        expect(log.reports['dylora/rank']).toBe(used[0]);
        drawn.push(used[0]);
      }
      return drawn;
    };
    const first = await run();
    expect(new Set(first).size).toBe(RANK);
    expect(await run()).toEqual(first);
    expect(steps.afterStep).toBeUndefined();
  });

  it('draws prefixes by their distribution', () => {
    const share = (o: Record<string, unknown>) => {
      const options = dylora.options.parse({ rank: 8, ...o }) as DyloraOptions;
      const counts = new Array(9).fill(0);
      for (let t = 0; t < 10_000; t++) counts[drawRank(random(5, `draw/${t}`), options)]++;
      return counts;
    };
    const chi = (counts: number[], p: (b: number) => number) =>
      counts.reduce((t, c, b) => (p(b) === 0 ? t + c * 1e9 : t + (c - 1e4 * p(b)) ** 2 / (1e4 * p(b))), 0);
    // 99.9 % quantiles of χ² with 7 and 5 degrees of freedom.
    expect(chi(share({}), (b) => (b > 0 ? 1 / 8 : 0))).toBeLessThan(24.3);
    expect(chi(share({ minRank: 3 }), (b) => (b > 2 ? 1 / 6 : 0))).toBeLessThan(20.5);
    const q = 0.85;
    expect(
      chi(share({ distribution: 'geometric' }), (b) => (b > 0 ? (0.15 * q ** (b - 1)) / (1 - q ** 8) : 0)),
    ).toBeLessThan(24.3);
  });

  it('puts idle ranks back after a step where asked', async () => {
    for (const mode of ['frozen', 'all']) {
      const s = shaken(await begun({ mode, lazyRows: true }));
      const own = adapted(s);
      const steps = dylora.steps!(s.options, [own]);
      const info = stepInfo([own], 3);
      await steps.beforeStep!(info);
      const before = (own.trainable.A.data as Float32Array).slice();
      for (const a of Object.values(own.trainable))
        for (let i = 0; i < a.data.length; i++) a.data[i] = Number(a.data[i]) + 1;
      await steps.afterStep!(info);
      const b = [...own.frozen.prefix.data].filter((v) => Number(v) > 0).length;
      own.trainable.A.data.forEach((v: number | bigint, i: number) => {
        const k = Math.floor(i / 12);
        const moved = mode === 'frozen' ? k === b - 1 : k < b;
        expect(Number(v) - before[i]).toBeCloseTo(moved ? 1 : 0, 5);
      });
    }
  });

  it('tells a reader of the full file how it may be cut, and refuses impossible ranks', async () => {
    const s = await begun();
    const { config } = dylora.toPeft!([exported(s)], s.options);
    expect(config).toMatchObject({ r: 4, lora_alpha: 6, dylora: { min_rank: 1, prefix_scale: 'perRank' } });
    expect(() => dylora.options.parse({ rank: 4, servedRank: 5 })).toThrow(/above rank/);
    expect(() => dylora.options.parse({ rank: 4, minRank: 5 })).toThrow(/above rank/);
    await expect(start(dylora, layer(3, 12), { rank: 4 })).rejects.toMatchObject({ code: 'adapters/rank' });
  });
});

describe('the linear problem with a known answer', () => {
  const values = [3, 2.2, 1.5, 1, 0.6, 0.3];
  const [M, N, R] = [16, 12, 6];
  const orthonormal = (rows: number, seed: number) =>
    qr(matrix(rows, R, Float64Array.from(normal([rows, R], seed).data as Float32Array))).q;
  const u = orthonormal(M, 1);
  const target = multiply(
    { ...u, data: u.data.map((v, i) => v * values[i % R]) },
    transpose(orthonormal(N, 2)),
  ).data;

  it.each(['all', 'frozen'] as const)('nests exactly with one scale for all prefixes: %s', async (mode) => {
    const s = await start(dylora, layer(M, N), { rank: R, alpha: R, prefixScale: 'const', mode });
    const o = s.options as DyloraOptions;
    const A = Float64Array.from(s.factors.trainable.A.data as Float32Array);
    const B = new Float64Array(M * R);
    train(A, B, o);
    const left = values.map((_, k) => values.slice(k + 1).reduce((t, v) => t + v * v, 0));
    for (let b = 1; b <= R; b++) expect(error(A, B, b, 1)).toBeCloseTo(left[b - 1], 1);
    // The factors that were found are the form's: it serves the same prefix.
    const trainable = {
      A: { ...s.factors.trainable.A, data: Float32Array.from(A) },
      B: { ...s.factors.trainable.B, data: Float32Array.from(B) },
    };
    const cutAtTwo = { ...s, options: { ...o, servedRank: 2 }, factors: { ...s.factors, trainable } };
    const w = weightOf(cutAtTwo as Started);
    const residual = target.reduce(
      (t, v, i) => t + (v - (Number(w.data[i]) - Number(s.original.data[i]))) ** 2,
      0,
    );
    expect(residual).toBeCloseTo(left[1], 1);
  });

  it.each([
    ['all', [9.6, 5.3, 4.0, 2.4, 1.6, 1.2]],
    ['frozen', [8.5, 6.0, 4.2, 3.2, 3.0, 1.8]],
  ] as const)(
    'cannot nest exactly with a scale for each prefix, but beats a cut LoRA: %s',
    async (mode, known) => {
      const o = dylora.options.parse({ rank: R, alpha: R, mode }) as DyloraOptions;
      const { A: drawn } = (await start(dylora, layer(M, N), { rank: R })).factors.trainable;
      const A = Float64Array.from(drawn.data as Float32Array);
      const B = new Float64Array(M * R);
      train(A, B, o);
      const errors = values.map((_, k) => error(A, B, k + 1, R / (k + 1)));
      errors.forEach((e, k) => {
        expect(Math.abs(e - known[k]), `${errors}`).toBeLessThan(0.5);
      });
      const whole = Float64Array.from(drawn.data as Float32Array);
      const plain = new Float64Array(M * R);
      train(whole, plain, { ...o, minRank: R, mode: 'all' });
      expect(error(whole, plain, R, 1)).toBeLessThan(0.01);
      for (let b = 1; b < R - 1; b++) expect(errors[b - 1]).toBeLessThan(error(whole, plain, b, R / b));
    },
  );

  function change(A: Float64Array, B: Float64Array, b: number, s: number): Float64Array {
    const out = new Float64Array(M * N);
    for (let i = 0; i < M; i++)
      for (let k = 0; k < b; k++)
        for (let j = 0; j < N; j++) out[i * N + j] += s * B[i * R + k] * A[k * N + j];
    return out;
  }

  function error(A: Float64Array, B: Float64Array, b: number, s: number): number {
    const own = change(A, B, b, s);
    return target.reduce((t, v, i) => t + (v - own[i]) ** 2, 0);
  }

  /** Adam, 0.01 decayed to 0, on ‖ΔW_b − Δ‖² with b drawn and gradients given as the form does (tested above). */
  function train(A: Float64Array, B: Float64Array, o: DyloraOptions): void {
    const frozen: Record<string, NDArray> = { prefix: normal([R], 1), live: normal([R], 1) };
    const [ga, gb] = [new Float64Array(R * N), new Float64Array(M * R)];
    const moments = [A, B].map((p) => ({ m: new Float64Array(p.length), v: new Float64Array(p.length) }));
    const total = 12_000;
    for (let t = 1; t <= total; t++) {
      const b = drawRank(random(3, `known/${t}`), o);
      setPrefix(frozen, o, b);
      const s = Number(frozen.prefix.data[0]);
      const own = change(A, B, b, s);
      ga.fill(0);
      gb.fill(0);
      for (let k = 0; k < b; k++) {
        if (frozen.live.data[k] === 0) continue;
        for (let i = 0; i < M; i++)
          for (let j = 0; j < N; j++) {
            const e = 2 * s * (own[i * N + j] - target[i * N + j]);
            ga[k * N + j] += e * B[i * R + k];
            gb[i * R + k] += e * A[k * N + j];
          }
      }
      const rate = 0.01 * (1 - t / total);
      [A, B].forEach((p, which) => {
        const [g, { m, v }] = [which === 0 ? ga : gb, moments[which]];
        for (let i = 0; i < p.length; i++) {
          m[i] = 0.9 * m[i] + 0.1 * g[i];
          v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
          p[i] -= (rate * (m[i] / (1 - 0.9 ** t))) / (Math.sqrt(v[i] / (1 - 0.999 ** t)) + 1e-8);
        }
      });
    }
  }
});
