import { describe, expect, it } from 'vitest';
import { createEngine } from '../engine/index.ts';
import { evaluate, input, type NDArray, program, zeros } from '../graph/index.ts';
import { matrix, multiply, random, svd, topK, transpose } from '../linalg/index.ts';
import { chosen, flylora, sparseProjection } from './flylora.ts';
import { mergeFlylora } from './flylora-merge.ts';
import type { FlyloraOptions } from './flylora-options.ts';
import { weightFormContract } from './form.contract.ts';
import {
  arraysOf,
  checkGradients,
  checkShapes,
  exported,
  gradientsOf,
  layer,
  maxDifference,
  minus,
  normal,
  observedOf,
  outputOf,
  rankOf,
  type Started,
  shaken,
  start,
  unadapted,
  weightOf,
} from './form-checks.contract.ts';
import { lora } from './lora.ts';
import { resolveOptions } from './options.ts';
import { adapted, stepInfo } from './run-steps.contract.ts';

const x = normal([10, 24], 3);
const begun = (more: Record<string, unknown> = {}, seed = 1) =>
  start(flylora, layer(9, 24), { rank: 8, active: 2, alpha: 16, ...more }, { seed });
const scores = ['signed', 'abs', 'absPlus'] as const;

weightFormContract(flylora, { rank: 4, active: 4 }, [flylora]);

/** The mask of `x` under the biases of `s`. */
function maskOf(s: Started, tokens: NDArray): number[][] {
  const o = s.options as FlyloraOptions;
  const u = scoresOf(s, tokens);
  const { mask } = evaluate(program({ mask: chosen(input('u', u.shape), input('bias', [o.rank]), o) }), {
    u,
    bias: s.factors.frozen.bias,
  });
  return Array.from({ length: u.shape[0] }, (_, t) =>
    [...mask.data].slice(t * o.rank, (t + 1) * o.rank).map(Number),
  );
}

function scoresOf(s: Started, tokens: NDArray): NDArray {
  const { A } = s.factors.frozen;
  const { data } = multiply(
    matrix(tokens.shape[0], tokens.shape[1], tokens.data as Float32Array),
    transpose(matrix(A.shape[0], A.shape[1], A.data as Float32Array)),
  );
  return { dtype: 'float32', shape: [tokens.shape[0], A.shape[0]], data };
}

describe('FlyLoRA', () => {
  it('starts at the base with a sparse A of p nonzeros a row and standard deviation 1/r', async () => {
    const s = await start(flylora, layer(20, 400), { rank: 16, active: 4 });
    const { A } = s.factors.frozen;
    const all: number[] = [];
    for (let k = 0; k < 16; k++) {
      const row = [...A.data]
        .slice(k * 400, (k + 1) * 400)
        .map(Number)
        .filter((v) => v !== 0);
      expect(row).toHaveLength(100);
      all.push(...row);
    }
    expect(16 * Math.sqrt(all.reduce((t, v) => t + v * v, 0) / all.length)).toBeCloseTo(1, 1);
    const tokens = normal([3, 400], 4);
    expect(maxDifference(outputOf(s, tokens), outputOf(unadapted(s), tokens))).toBe(0);
    checkShapes(s);
  });

  it.each(scores)(
    'lets exactly k ranks pass for each token, those of the largest scores: %s',
    async (score) => {
      const s = shaken(await begun({ score, active: 3 }));
      const u = scoresOf(s, x);
      const bias = s.factors.frozen.bias.data as Float32Array;
      maskOf(s, x).forEach((mask, t) => {
        const q = [...u.data].slice(t * 8, t * 8 + 8).map((v, i) => {
          if (score === 'absPlus') return Math.abs(Number(v)) + bias[i];
          return score === 'abs' ? Math.abs(Number(v) + bias[i]) : Number(v) + bias[i];
        });
        const wanted = new Array(8).fill(0);
        for (const i of topK(q, 3)) wanted[i] = 1;
        expect(mask).toEqual(wanted);
      });
    },
  );

  it('prefers the lower index among equals, here and in the engine', async () => {
    const o = flylora.options.parse({ rank: 6, active: 2 }) as FlyloraOptions;
    const u: NDArray = {
      dtype: 'float32',
      shape: [2, 6],
      data: Float32Array.of(1, 1, 1, 1, 1, 1, 0, 2, 1, 2, 1, 2),
    };
    const p = program({ mask: chosen(input('u', [2, 6]), input('bias', [6]), o) });
    const feeds = { u, bias: zeros([6]) };
    const wanted = [1, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0];
    expect([...evaluate(p, feeds).mask.data]).toEqual(wanted);
    const engine = await createEngine({ threads: 1 });
    expect([...(await (await engine.compile(p)).run(feeds)).mask.data]).toEqual(wanted);
    await engine.dispose();
  });

  it('is LoRA with a frozen A where all ranks pass, whatever the bias', async () => {
    const s = shaken(await begun({ active: 8 }));
    const twin = await start(lora, layer(9, 24), { rank: 8, alpha: 16 });
    const same = {
      ...twin,
      factors: { trainable: { A: s.factors.frozen.A, B: s.factors.trainable.B }, frozen: {} },
    };
    expect(maxDifference(outputOf(s, x, { training: true }), outputOf(same, x))).toBeLessThan(1e-12);
    expect(maxDifference(gradientsOf(s, x).B, gradientsOf(same, x).B)).toBeLessThan(1e-12);
    expect(maxDifference(weightOf(s), weightOf(same))).toBeLessThan(1e-12);
  });

  it('has right gradients; those of ranks that no token chose are zero; what is observed are counts', async () => {
    const s = shaken(await begun());
    checkGradients(s, x);
    const one = { ...x, shape: [1, 24], data: (x.data as Float32Array).slice(0, 24) };
    const g = gradientsOf(s, one);
    const [mask] = maskOf(s, one);
    g.B.data.forEach((v: number | bigint, i: number) => {
      expect(Number(v) !== 0).toBe(mask[i % 8] === 1);
    });
    expect([...observedOf(s, one).counts.data]).toEqual(mask);
    const used = new Array(8).fill(0);
    for (const row of maskOf(s, x)) for (const [i, v] of row.entries()) used[i] += v;
    expect([...observedOf(s, x).counts.data]).toEqual(used);
  });

  it('changes one token by rank k at most, many by up to r', async () => {
    const s = shaken(await begun({ active: 2 }));
    const many = normal([40, 24], 8);
    expect(rankOf(minus(outputOf(s, many), outputOf(unadapted(s), many)), svd)).toBe(8);
    for (const row of maskOf(s, many)) expect(row.reduce((t, v) => t + v, 0)).toBe(2);
  });

  it('goes through its own file, refuses to merge and to be read on another base', async () => {
    const s = shaken(await begun({ score: 'absPlus' }));
    const file = flylora.toPeft!([exported(s)], s.options);
    const { options, factors } = flylora.fromPeft!(file, [s.spec]);
    const again = { ...s, options, factors: factors.get(s.spec.name)! };
    expect(maxDifference(outputOf(again, x), outputOf(s, x))).toBe(0);
    expect(() => lora.fromPeft!(file, [s.spec])).toThrow(/another type/);
    expect(() => weightOf(s)).toThrow(/no weight does the same/);
    expect(() => flylora.fromPeft!(file, [layer(9, 25)])).toThrow(/does not have/);
    expect(() => flylora.fromPeft!(file, [{ ...layer(9, 25), name: s.spec.name }])).toThrow(/\[8,24\]/);
  });

  it('stops the gradient to earlier layers where asked', async () => {
    const s = shaken(await begun({ stopGradient: true }));
    checkGradients(s, x);
    expect(maxDifference(outputOf(s, x), outputOf(shaken(await begun()), x))).toBe(0);
  });
});

describe('balance', () => {
  it('moves the bias once an update against use', async () => {
    const own = adapted(await begun({ balanceRate: 0.5 }));
    const steps = flylora.steps!(own.options, [own]);
    const counts: NDArray = { dtype: 'float32', shape: [8], data: Float32Array.of(9, 0, 2, 2, 2, 1, 0, 0) };
    const info = stepInfo([own], 0, { observed: { [`${own.spec.name}#counts`]: counts } });
    await steps.afterGradient!(info);
    expect([...own.frozen.bias.data]).toEqual([-0.5, 0.5, 0, 0, 0, 0.5, 0.5, 0.5]);
  });

  it.each([
    ['signed', 1e-3, 0, 0.05],
    ['absPlus', 1e-3, 0, 0.05],
    ['signed', 0, 0.15, 1],
    ['absPlus', 0, 0.4, 1],
    ['abs', 1e-3, 0.4, 1],
  ] as const)(
    '%s with rate %d: use varies by %d … %d after 3000 updates',
    async (score, rate, least, most) => {
      const s = await start(flylora, layer(40, 128), { rank: 32, active: 8, score, balanceRate: rate });
      const A = s.factors.frozen.A.data as Float32Array;
      for (let j = 0; j < 128; j++) {
        A[j] *= 10;
        A[128 + j] *= 0.1;
      }
      const own = adapted(s);
      const steps = flylora.steps!(own.options, [own]);
      const bias = own.frozen.bias.data as Float32Array;
      const use = (tokens: number, seed: number): Float32Array => {
        const u = scoresOf(s, normal([tokens, 128], seed));
        const counts = new Float32Array(32);
        for (let t = 0; t < tokens; t++) {
          const q = Array.from({ length: 32 }, (_, i) => {
            const v = Number(u.data[t * 32 + i]);
            return score === 'signed'
              ? v + bias[i]
              : score === 'abs'
                ? Math.abs(v + bias[i])
                : Math.abs(v) + bias[i];
          });
          for (const i of topK(q, 8)) counts[i]++;
        }
        return counts;
      };
      for (let t = 0; t < 3000; t++) {
        const counts: NDArray = { dtype: 'float32', shape: [32], data: use(16, t) };
        const info = stepInfo([own], t, { observed: { [`${own.spec.name}#counts`]: counts } });
        await steps.afterGradient!(info);
      }
      const counts = use(8000, 9999);
      const mean = 8000 / 4;
      const variation = Math.sqrt(counts.reduce((t, c) => t + (c - mean) ** 2, 0) / 32) / mean;
      expect(variation).toBeGreaterThanOrEqual(least);
      expect(variation).toBeLessThan(most);
    },
  );
});

describe('sparse random projections', () => {
  const project = (r: number, n: number, p: number, seed: number) =>
    matrix(r, n, sparseProjection(r, n, p, random(seed, 'A')).data as Float32Array);
  const norm = (a: ArrayLike<number>) => Math.sqrt(Array.from(a).reduce((t, v) => t + v * v, 0));

  it('are nearly orthogonal to each other', () => {
    const cosine = (n: number) => {
      const [a, b] = [project(32, n, n / 4, 1), project(32, n, n / 4, 2)];
      return norm(multiply(a, transpose(b)).data) / (norm(a.data) * norm(b.data));
    };
    expect(cosine(256)).toBeLessThan(2 / Math.sqrt(256));
    expect(cosine(4096) / cosine(256)).toBeCloseTo(0.25, 1);
  });

  it('keep lengths and distances (Johnson and Lindenstrauss)', () => {
    const [r, n, p] = [64, 512, 128];
    const A = project(r, n, p, 3);
    const points = transpose(matrix(20, n, normal([20, n], 5).data as Float32Array));
    const images = multiply(A, points).data;
    const scale = Math.sqrt((r * n) / p);
    let total = 0;
    for (let a = 0; a < 20; a++)
      for (let b = 0; b < a; b++) {
        const apart = (data: ArrayLike<number>, rows: number) =>
          norm(Array.from({ length: rows }, (_, i) => data[i * 20 + a] - data[i * 20 + b]));
        const ratio = (scale * apart(images, r)) / apart(points.data, n);
        total += ratio ** 2;
        expect(Math.abs(ratio - 1)).toBeLessThan(0.35);
      }
    expect(total / 190).toBeCloseTo(1, 0);
  });
});

describe('merging tasks', () => {
  const task = async (seed: number, noise: number, more: Record<string, unknown> = {}) => {
    const s = shaken(await begun(more, seed), noise);
    const { A, B } = arraysOf(s);
    return { A, B, file: flylora.toPeft!([exported(s)], s.options), s };
  };

  it('averages B exactly over one A, dense stand-ins over several', async () => {
    const [a, b, c] = [await task(1, 0.3), await task(1, 0.6), await task(2, 0.3)];
    const routed = flylora.fromPeft!(mergeFlylora([a.file, b.file]), [a.s.spec]).factors.get(a.s.spec.name)!;
    expect(Number(routed.trainable.B.data[5])).toBeCloseTo(
      (Number(a.B.data[5]) + Number(b.B.data[5])) / 2,
      6,
    );
    const dense = lora.fromPeft!(mergeFlylora([a.file, c.file]), [a.s.spec]);
    const base = await start(lora, a.s.spec, { rank: 1 });
    const twin = { ...base, options: resolveOptions(dense.options, a.s.spec) };
    const change = minus(weightOf({ ...twin, factors: dense.factors.get(a.s.spec.name)! }), twin.original);
    const product = (t: typeof a) =>
      multiply(matrix(9, 8, t.B.data as Float32Array), matrix(8, 24, t.A.data as Float32Array)).data;
    const [pa, pc] = [product(a), product(c)];
    change.data.forEach((v: number | bigint, i: number) => {
      expect(Number(v)).toBeCloseTo(pa[i] + pc[i], 5);
    });
  });

  it('refuses other forms and other options', async () => {
    const [a, b] = [await task(1, 0.3), await task(1, 0.3, { rank: 4 })];
    const other = { config: { ...a.file.config, peft_type: 'LORA' }, tensors: a.file.tensors };
    const code = 'adapters/different-forms';
    const cases = [
      [[a.file, b.file], 'r: 8 and 4'],
      [[a.file, other], 'peft_type: "FLYLORA" and "LORA"'],
      [[other, a.file], 'peft_type'],
    ] as const;
    for (const [files, told] of cases)
      expect(() => mergeFlylora(files)).toThrow(
        expect.objectContaining({ code, message: expect.stringContaining(told) }),
      );
  });
});
