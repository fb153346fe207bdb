import { describe, expect, it } from 'vitest';
import { evaluate, gradients, input, type NDArray, program } from '../graph/index.ts';
import { svd } from '../linalg/index.ts';
import { weightFormContract } from './form.contract.ts';
import {
  arraysOf,
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
  type Started,
  shaken,
  start,
  unadapted,
  weightOf,
  withFactors,
} from './form-checks.contract.ts';
import { lora } from './lora.ts';
import { salt } from './salt.ts';

const x = normal([3, 6], 3);
const filled = (a: NDArray, values: (i: number) => number): NDArray => ({
  ...a,
  data: Float32Array.from(a.data as Float32Array, (_, i) => values(i)),
});

for (const options of [{ relu: 'diagonal', penalty: 0.3 }, { relu: 'none', kept: 0 }, { kept: 8 }])
  weightFormContract(salt, { rank: 4, ...options }, [lora, salt]);

function singularValues(w: NDArray): number[] {
  const [rows, cols] = w.shape;
  return [...svd({ rows, cols, data: Float64Array.from(w.data as Float64Array) }).s];
}

/** U diag(values) Vᵀ over the top part of a start. */
function inTop(s: Started, values: (k: number, S: number) => number): NDArray {
  const { U1, S1, V1 } = s.factors.frozen;
  const [m, t] = U1.shape;
  const n = V1.shape[1];
  const data = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++)
      for (let k = 0; k < t; k++)
        data[i * n + j] +=
          Number(U1.data[i * t + k]) * values(k, Number(S1.data[k])) * Number(V1.data[k * n + j]);
  return { dtype: 'float32', shape: [m, n], data };
}

describe('SALT', () => {
  it('starts at W₀, for layers of every kind and ratio', async () => {
    for (const ratio of [0, 0.1, 0.5, 1])
      for (const relu of ['all', 'diagonal', 'none']) {
        const s = await start(salt, layer(9, 6), { rank: 2, ratio, relu });
        expect(maxDifference(weightOf(s), s.original)).toBeLessThan(1e-5);
        expect(maxDifference(outputOf(s, x), outputOf(unadapted(s), x))).toBeLessThan(1e-5);
        checkShapes(s);
        const t = ratio === 0 ? 0 : Math.max(1, Math.floor(ratio * 6));
        expect(counts(s.factors.trainable)).toBe(2 * t + 2 * (6 - t) * 2);
      }
  });

  it('starts near W₀ from small normal factors', async () => {
    const s = await start(salt, layer(9, 6), { rank: 2, init: 'gaussian', relu: 'none' });
    const moved = maxDifference(weightOf(s), s.original);
    expect(moved).toBeGreaterThan(0);
    expect(moved).toBeLessThan(0.01);
  });

  it.each(['all', 'diagonal', 'none'])('has right gradients: relu %s', async (relu) => {
    const s = shaken(await start(salt, layer(5, 6), { rank: 2, kept: 2, relu }));
    checkGradients(s, x);
    checkForwardIsWeight(s, x);
  });

  it('adapts convolutions and embeddings', async () => {
    const conv = layer(4, 3, { kind: 'conv2d', kernel: [2, 2] });
    const images = normal([1, 3, 4, 4], 5);
    const weight = normal([4, 3, 2, 2], 6);
    const c = await start(salt, conv, { rank: 2, kept: 1, relu: 'none' }, { weight });
    expect(maxDifference(outputOf(c, images), outputOf(unadapted(c), images))).toBeLessThan(1e-5);
    checkShapes(c);
    const moved = shaken(c);
    expect(c.factors.frozen.V2.shape).toEqual([3, 3, 2, 2]);
    checkGradients(moved, images);
    const { tensors } = salt.toLora!([exported(moved)], moved.options);
    const [A, B] = ['lora_A.weight', 'lora_B.weight'].map(
      (part) => tensors[`base_model.model.${conv.name}.${part}`],
    );
    expect([A.shape, B.shape]).toEqual([
      [3, 3, 2, 2],
      [4, 3, 1, 1],
    ]);
    const delta = minus(weightOf(moved), weight);
    delta.data.forEach((v: number | bigint, at: number) => {
      let own = 0;
      for (let k = 0; k < 3; k++)
        own += Number(B.data[Math.floor(at / 12) * 3 + k]) * Number(A.data[k * 12 + (at % 12)]);
      expect(own).toBeCloseTo(Number(v), 5);
    });
    const grey = layer(4, 1, { kind: 'conv2d', kernel: [3, 3] });
    const ranked = (rank: number) => salt.shapes(grey, salt.options.parse({ rank })).trainable;
    expect(ranked(4)).toMatchObject({ X: [3, 4], Y: [4, 3] });
    expect(() => ranked(5)).toThrow(/4×9/);
    const table = shaken(await start(salt, layer(7, 5, { kind: 'embedding' }), { rank: 2 }));
    const ids: NDArray = { dtype: 'int64', shape: [3], data: BigInt64Array.of(6n, 0n, 6n) };
    checkGradients(table, ids);
  });

  it('only scales and shifts where all singular values are kept', async () => {
    const s = shaken(await start(salt, layer(9, 6), { rank: 2, kept: 6 }), 1.5);
    expect(Object.keys(s.factors.trainable)).toEqual(['stretch', 'shift']);
    const { stretch, shift } = s.factors.trainable;
    const value = (k: number, S: number) =>
      Math.max(0, (1 + Number(stretch.data[k])) * S + Number(shift.data[k]));
    expect(maxDifference(weightOf(s), inTop(s, value))).toBeLessThan(1e-5);
  });

  it('is LoRA in the singular basis where nothing is kept and nothing cut', async () => {
    const s = shaken(await start(salt, layer(9, 6), { rank: 2, kept: 0, relu: 'none' }));
    const same = asRead(s, lora, salt.toLora!([exported(s)], s.options));
    expect(same.options).toMatchObject({ rank: 2 });
    expect(maxDifference(weightOf(same), weightOf(s))).toBeLessThan(1e-5);
  });

  it('has the singular values ReLU(a S₁ + c) and S₂ where X Y = 0', async () => {
    const s = await start(salt, layer(9, 6), { rank: 2, kept: 3 });
    const { stretch, shift } = s.factors.trainable;
    const moved = withFactors(s, {
      stretch: filled(stretch, (k) => [0.5, -0.2, 0][k]),
      shift: filled(shift, (k) => [0.1, 0, -99][k]),
    });
    const [S1, S2] = [s.factors.frozen.S1.data, s.factors.frozen.S2.data];
    const wanted = [1.5 * Number(S1[0]) + 0.1, 0.8 * Number(S1[1]), 0, ...[...S2].map(Number)];
    const own = singularValues(weightOf(moved));
    wanted
      .sort((a, b) => b - a)
      .forEach((v, i) => {
        expect(own[i]).toBeCloseTo(v, 5);
      });
    // What is cut stays dead.
    const g = gradientsOf(moved, x);
    expect(Number(g.shift.data[2])).toBe(0);
    expect(Number(g.stretch.data[2])).toBe(0);
    expect(Number(g.shift.data[0])).not.toBe(0);
  });

  it('cuts every negative entry, the diagonal, or nothing', async () => {
    const of = async (relu: string) => {
      const s = await start(salt, layer(6, 6), { rank: 2, kept: 1, relu });
      const { X, Y } = s.factors.trainable;
      return withFactors(s, { X: filled(X, (i) => (i % 2 ? 0.1 : -0.7)), Y: filled(Y, (i) => 0.5 + i / 10) });
    };
    const core = (s: Started, i: number, j: number) => {
      const { U2, V2 } = s.factors.frozen;
      const w = weightOf(s);
      let total = 0;
      for (let a = 0; a < 6; a++)
        for (let b = 0; b < 6; b++)
          total += Number(U2.data[a * 5 + i]) * Number(w.data[a * 6 + b]) * Number(V2.data[j * 6 + b]);
      return total;
    };
    const [all, diagonal, none] = await Promise.all(['all', 'diagonal', 'none'].map(of));
    for (let i = 0; i < 5; i++)
      for (let j = 0; j < 5; j++) {
        const free = core(none, i, j);
        expect(core(all, i, j)).toBeCloseTo(Math.max(0, free), 5);
        expect(core(diagonal, i, j)).toBeCloseTo(i === j ? Math.max(0, free) : free, 5);
      }
    expect(core(none, 0, 1)).toBeLessThan(-0.01);
  });

  it('is a LORA of rank t + ρ as long as nothing is cut, and says so where something is', async () => {
    const s = await start(salt, layer(9, 6), { rank: 2, kept: 2 });
    const { X, Y, shift } = s.factors.trainable;
    const positive = withFactors(s, {
      X: filled(X, (i) => 0.1 + i / 40),
      Y: filled(Y, (i) => 0.2 + i / 30),
      shift: filled(shift, () => 0.3),
    });
    const same = asRead(positive, lora, salt.toLora!([exported(positive)], s.options));
    expect(same.factors.trainable.A.shape).toEqual([4, 6]);
    expect(maxDifference(outputOf(same, x), outputOf(positive, x))).toBeLessThan(1e-4);
    const cut = withFactors(positive, { X: filled(X, () => -0.5) });
    expect(() => salt.toLora!([exported(cut)], s.options)).toThrow(/core of .* is cut/);
    const dead = withFactors(positive, { shift: filled(shift, () => -99) });
    expect(() => salt.toLora!([exported(dead)], s.options)).toThrow(/cut/);
  });

  it('adds ‖a S₁ + c − S₁‖ + ‖X Y‖ to the loss, with a zero gradient at the start', async () => {
    const penalty = async (s: Started) => {
      const arrays = arraysOf(s);
      const p = Object.fromEntries(Object.entries(arrays).map(([k, a]) => [k, input(k, a.shape)]));
      const value = s.form.penalty!(p, s.options, 3);
      const names = Object.keys(s.factors.trainable);
      const g = gradients(
        value,
        names.map((n) => p[n]),
      );
      return evaluate(program({ value, ...Object.fromEntries(names.map((n, i) => [n, g[i]])) }), arrays);
    };
    const s = await start(salt, layer(9, 6), { rank: 2, kept: 2, penalty: 0.5 });
    const zero = await penalty(s);
    expect(Number(zero.value.data[0])).toBe(0);
    for (const name of Object.keys(s.factors.trainable))
      expect(
        zero[name].data.every((v: number | bigint) => Math.abs(Number(v)) === 0),
        name,
      ).toBe(true);
    const moved = shaken(s);
    const { stretch, shift, X, Y } = moved.factors.trainable;
    const S1 = s.factors.frozen.S1.data;
    const top = [0, 1].map((k) => Number(stretch.data[k]) * Number(S1[k]) + Number(shift.data[k]));
    let mixed = 0;
    for (let i = 0; i < 4; i++)
      for (let j = 0; j < 4; j++)
        mixed +=
          (Number(X.data[2 * i]) * Number(Y.data[j]) + Number(X.data[2 * i + 1]) * Number(Y.data[4 + j])) **
          2;
    expect(Number((await penalty(moved)).value.data[0])).toBeCloseTo(
      0.5 * (Math.hypot(...top) + Math.sqrt(mixed)),
      5,
    );
    const off = await penalty(shaken(await start(salt, layer(9, 6), { rank: 2 })));
    expect(Number(off.value.data[0])).toBe(0);
  });

  it('reaches rescaled singular values by a and c alone, a rotation of the tail only by X Y', async () => {
    const s = await start(salt, layer(6, 6), { rank: 2, kept: 3, relu: 'none' });
    const { stretch, X, Y } = s.factors.trainable;
    const factor = (k: number) => [0.4, -0.1, 0.9][k];
    const scaled = withFactors(s, { stretch: filled(stretch, factor) });
    const target = minus(
      inTop(s, (k, S) => (1 + factor(k)) * S),
      inTop(s, (_, S) => S),
    );
    expect(maxDifference(minus(weightOf(scaled), s.original), target)).toBeLessThan(1e-5);
    // ⟨u₄, ΔW v₅⟩: nothing that a and c do shows there.
    const { U2, V2 } = s.factors.frozen;
    const tail = (moved: Started) => {
      const d = minus(weightOf(moved), s.original);
      let total = 0;
      for (let a = 0; a < 6; a++)
        for (let b = 0; b < 6; b++)
          total += Number(U2.data[a * 3]) * Number(d.data[a * 6 + b]) * Number(V2.data[6 + b]);
      return total;
    };
    expect(tail(scaled)).toBeCloseTo(0, 5);
    const rotated = withFactors(s, {
      X: filled(X, (i) => Number(i === 0)),
      Y: filled(Y, (i) => Number(i === 1)),
    });
    expect(tail(rotated)).toBeCloseTo(1, 5);
  });
});
