import { describe, expect, it } from 'vitest';
import type { NDArray } from '../graph/index.ts';
import { matrix, multiply, solve, transpose } from '../linalg/index.ts';
import {
  asRead,
  checkForwardIsWeight,
  checkGradients,
  checkShapes,
  counts,
  exported,
  gradientsOf,
  layer,
  maxDifference,
  minus,
  normal,
  outputOf,
  shaken,
  start,
  weightOf,
} from './form-checks.contract.ts';
import { lora } from './lora.ts';
import { nola } from './nola.ts';
import { mixture, nolaBasis } from './nola-basis.ts';
import { nolaToFile } from './nola-file.ts';
import type { NolaOptions } from './nola-options.ts';

const x = normal([3, 6], 3);
const options = (o: Record<string, unknown>) => nola.options.parse(o) as NolaOptions;
const array = (data: Float64Array): NDArray => ({ dtype: 'float32', shape: [data.length], data });

describe('NOLA', () => {
  it('starts exactly at W₀ with 2k numbers for any shape and rank; β gets gradient, α not yet', async () => {
    for (const [m, n, rank] of [
      [9, 6, 2],
      [5, 6, 5],
    ]) {
      const s = await start(nola, layer(m, n), { rank, bases: 7 });
      expect(maxDifference(weightOf(s), s.original)).toBe(0);
      checkShapes(s);
      expect(counts(s.factors.trainable)).toBe(14);
      const g = gradientsOf(s, x);
      expect(g.alpha.data.every((v) => Number(v) === 0)).toBe(true);
      expect(g.beta.data.every((v) => Number(v) !== 0)).toBe(true);
    }
  });

  it('starts near W₀ from the mean of the bases', async () => {
    const s = await start(nola, layer(9, 6), { rank: 2, bases: 50, start: 'mean' });
    const moved = maxDifference(weightOf(s), s.original);
    expect(moved).toBeGreaterThan(0);
    expect(moved).toBeLessThan(0.05);
    expect(Object.keys(s.factors.frozen)).toEqual(['basesA', 'basesB']);
    checkShapes(s);
  });

  it.each(['zero', 'mean'])(
    'has right gradients, merges, goes through LORA and its own file: %s',
    async (from) => {
      const o = { rank: 2, bases: 5, start: from, alpha: 3, seed: 4 };
      const s = shaken(await start(nola, layer(9, 6), o), 1);
      checkGradients(s, x);
      checkForwardIsWeight(s, x);
      const same = asRead(s, lora, nola.toPeft!([exported(s)], s.options));
      expect(maxDifference(outputOf(same, x), outputOf(s, x))).toBeLessThan(1e-5);
      const file = nolaToFile([exported(s) as never], s.options as NolaOptions);
      const bytes = Object.values(file.tensors).reduce((t, a) => t + a.data.byteLength, 0);
      expect(bytes).toBe(4 * 2 * 5);
      expect(maxDifference(outputOf(asRead(s, nola, file), x), outputOf(s, x))).toBe(0);
      const other = asRead(s, nola, { ...file, config: { ...file.config, seed: 5 } });
      expect(maxDifference(outputOf(other, x), outputOf(s, x))).toBeGreaterThan(0.01);
    },
  );

  it('mixes the same bits in chunks of 1, 7 or all', () => {
    const basis = nolaBasis(layer(9, 6), options({ rank: 2, bases: 20 }), 'A');
    const c = normal([20], 8);
    const whole = [...mixture(basis, c, 20).data];
    for (const rows of [1, 7]) expect([...mixture(basis, c, rows).data]).toEqual(whole);
  });

  it('gives layers of one shape, and the two sides, bases of their own', () => {
    const o = options({ rank: 6, bases: 2 });
    const of = (name: string, side: 'A' | 'B') => [
      ...nolaBasis({ ...layer(6, 6), name }, o, side).chunk(0, 1).data,
    ];
    expect(of('a', 'A')).not.toEqual(of('b', 'A'));
    expect(of('a', 'A')).not.toEqual(of('a', 'B'));
  });

  it('spans every A where k ≥ r n', () => {
    const basis = nolaBasis(layer(9, 6), options({ rank: 2, bases: 14 }), 'A');
    const rows = Float64Array.from(basis.chunk(0, 14).data as Float32Array);
    const target = Float64Array.from(normal([12], 6).data as Float32Array);
    const fixed = basis.fixed!().data as Float32Array;
    const wanted = target.map((v, i) => v - fixed[i]);
    // The least-norm solution of 12 equations in 14 unknowns.
    const M = transpose(matrix(14, 12, rows));
    const y = solve(multiply(M, transpose(M)), matrix(12, 1, wanted));
    const c = multiply(transpose(M), y).data;
    const A = mixture(basis, array(c)).data;
    for (let i = 0; i < 12; i++) expect(Number(A[i])).toBeCloseTo(target[i], 4);
  });

  it('moves on one line at rank 1 with one basis', async () => {
    const s = await start(nola, layer(5, 6), { rank: 1, bases: 1, start: 'mean' });
    const at = (alpha: number, beta: number) => {
      const trainable = { alpha: array(Float64Array.of(alpha)), beta: array(Float64Array.of(beta)) };
      return minus(weightOf({ ...s, factors: { ...s.factors, trainable } }), s.original);
    };
    const [one, other] = [at(1, 1), at(0.5, 3)];
    expect(
      maxDifference({ ...one, data: (one.data as Float64Array).map((v) => 1.5 * v) }, other),
    ).toBeLessThan(1e-12);
  });

  it('mixes entries of variance ‖α‖²/(3k)', () => {
    const k = 40;
    const basis = nolaBasis(layer(9, 500), options({ rank: 8, bases: k, seed: 2 }), 'A');
    const c = normal([k], 8);
    const fixed = basis.fixed!().data as Float32Array;
    const mixed = [...(mixture(basis, c).data as Float32Array)].map((v, i) => v - fixed[i]);
    const variance = mixed.reduce((t, v) => t + v * v, 0) / mixed.length;
    const squares = (c.data as Float32Array).reduce((t, v) => t + v * v, 0);
    expect(variance / (squares / (3 * k))).toBeCloseTo(1, 1);
  });

  it('fits a random rank-2 target the better the more bases it has, as LoRA near k = r max(m, n)', async () => {
    const [m, n, r] = [10, 8, 2];
    const [b, a] = [normal([m, r], 1), normal([r, n], 2)];
    const product = multiply(matrix(m, r, b.data as Float32Array), matrix(r, n, a.data as Float32Array));
    const target = Float64Array.from(product.data);
    const errors = [2, 6, 12, 20].map((k) => fitError(target, m, n, r, k));
    for (let i = 1; i < errors.length; i++) expect(errors[i]).toBeLessThan(errors[i - 1]);
    expect(errors[0]).toBeGreaterThan(0.5);
    expect(errors[3]).toBeLessThan(1e-3);
  });

  it('refuses a file of another generator, of other layers, and too large a rank', async () => {
    const s = await start(nola, layer(5, 6), { rank: 2, bases: 3 });
    const file = nolaToFile([exported(s) as never], s.options as NolaOptions);
    const older = { ...file, config: { ...file.config, generator: 'splitmix-0' } };
    expect(() => nola.fromPeft!(older, [s.spec])).toThrow(/generator splitmix-0/);
    expect(() => nola.fromPeft!(file, [layer(6, 6)])).toThrow(/does not have/);
    expect(() => nola.fromPeft!({ ...file, tensors: {} }, [s.spec])).toThrow(/no nola_alpha of 3 numbers/);
    await expect(start(nola, layer(5, 6), { rank: 6 })).rejects.toMatchObject({ code: 'adapters/rank' });
  });
});

/** Relative squared error of (Σ βⱼ Bⱼ)(A⁰ + Σ αᵢ Aᵢ) after least squares in turn. */
function fitError(target: Float64Array, m: number, n: number, r: number, k: number): number {
  const o = options({ rank: r, bases: k });
  const sides = { A: nolaBasis(layer(m, n), o, 'A'), B: nolaBasis(layer(m, n), o, 'B') };
  const chunks = { A: sides.A.chunk(0, k).data as Float32Array, B: sides.B.chunk(0, k).data as Float32Array };
  const f64 = (a: NDArray) => Float64Array.from(a.data as Float32Array);
  let [A, beta] = [f64(sides.A.fixed!()), new Float64Array(k)];
  const fixed = f64(sides.A.fixed!());
  let error = 1;
  const total = target.reduce((t, v) => t + v * v, 0);
  for (let round = 0; round < 60; round++) {
    beta = least(
      k,
      (j) => product(Float64Array.from(chunks.B.subarray(j * m * r, (j + 1) * m * r)), A),
      target,
    );
    const B = f64(mixture(sides.B, array(beta)));
    const rest = product(B, fixed);
    const alpha = least(
      k,
      (i) => product(B, Float64Array.from(chunks.A.subarray(i * r * n, (i + 1) * r * n))),
      target.map((v, i) => v - rest[i]),
    );
    A = f64(mixture(sides.A, array(alpha)));
    const own = product(B, A);
    error = target.reduce((t, v, i) => t + (v - own[i]) ** 2, 0) / total;
  }
  return error;

  function product(left: Float64Array, right: Float64Array): Float64Array {
    return multiply(matrix(m, r, left), matrix(r, n, right)).data as Float64Array;
  }
}

/** Coefficients of `count` features that fit y best. */
function least(
  count: number,
  feature: (i: number) => Float64Array,
  y: Float64Array,
): Float64Array<ArrayBuffer> {
  const rows = Array.from({ length: count }, (_, i) => feature(i));
  const F = matrix(count, y.length, Float64Array.from(rows.flatMap((f) => [...f])));
  const gram = multiply(F, transpose(F)).data;
  for (let i = 0; i < count; i++) gram[i * count + i] += 1e-8;
  const right = multiply(F, matrix(y.length, 1, y));
  return Float64Array.from(solve(matrix(count, count, gram), right).data);
}
