import { describe, expect, it } from 'vitest';
import {
  add,
  array,
  evaluate,
  gradients,
  input,
  matmul,
  type NDArray,
  program,
  square,
  sub,
  sum,
  type Tensor,
} from '../graph/index.ts';
import { qr } from '../linalg/index.ts';
import { adalora } from './adalora.ts';
import {
  arraysOf,
  exported,
  gradientsOf,
  layer,
  maxDifference,
  normal,
  shaken,
  start,
  weightOf,
} from './form-checks.contract.ts';
import { lora } from './lora.ts';
import { resolveOptions } from './options.ts';
import type { AdaptedLayer, StepInfo } from './weight-form.ts';

const x = normal([2, 3, 10], 3);
/** Two layers in parallel on one target, trained by signs of gradients with the form's steps around the updates. */
async function parallelLayers(options: Record<string, unknown>, total: number, rate: number) {
  const started = await Promise.all(
    [0, 1].map((i) => start(adalora, { ...layer(6, 5), name: `m${i}` }, options, { seed: i })),
  );
  const layers: AdaptedLayer[] = started.map((s) => ({ spec: s.spec, options: s.options, ...s.factors }));
  const steps = adalora.steps!(started[0].options, layers);
  const xs = [normal([40, 5], 20), normal([40, 5], 21)];
  const change = normal([6, 5], 22, 0.5);
  const names = ['e', 'A', 'B'];
  const symbols = layers.map((l, i) =>
    Object.fromEntries(names.map((n) => [n, input(`${i}${n}`, l.trainable[n].shape)])),
  );
  const zero = input('zero', [6, 5]);
  // The target differs from the base by a change of the first layer alone.
  const deltas = symbols.map((p, i) => adalora.weight(zero, p, started[i].options, started[i].spec));
  const inputs = xs.map((_, i) => input(`x${i}`, [40, 5]));
  const product = (i: number, w: Tensor) => matmul(inputs[i], w, { transB: true });
  const residual = sub(
    add(product(0, deltas[0]), product(1, deltas[1])),
    product(0, input('change', [6, 5])),
  );
  const loss = sum(square(residual));
  const places = layers.flatMap((_, i) => names.map((n) => [i, n] as const));
  const derived = gradients(
    loss,
    places.map(([i, n]) => symbols[i][n]),
  );
  const step = program(Object.fromEntries(places.map(([i, n], k) => [`${i}${n}`, derived[k]])));
  const live: number[] = [];
  for (let t = 0; t < total; t++) {
    const feeds: Record<string, NDArray> = {
      x0: xs[0],
      x1: xs[1],
      change,
      zero: array(new Array(30).fill(0), [6, 5]),
    };
    for (const [i, n] of places) feeds[`${i}${n}`] = layers[i].trainable[n];
    const g = evaluate(step, feeds);
    const info = {
      step: t,
      total,
      layers,
      gradient: (l: AdaptedLayer, n: string) => g[`${layers.indexOf(l)}${n}`],
      report: (name: string, value: number) => name === 'adalora/live' && live.push(value),
    } as unknown as StepInfo;
    await steps.beforeStep!(info);
    for (const [i, n] of places) {
      const data = layers[i].trainable[n].data;
      for (let k = 0; k < data.length; k++)
        data[k] = Number(data[k]) - rate * Math.sign(Number(g[`${i}${n}`].data[k]));
    }
    await steps.afterStep!(info);
  }
  return { layers, live };
}

const liveOf = (l: AdaptedLayer) => [...l.trainable.e.data].filter((e) => Number(e) !== 0).length;

describe('AdaLoRA', () => {
  it('moves only e by the task at the start', async () => {
    const g = gradientsOf(await start(adalora, layer(8, 10), { rank: 4 }), x);
    expect(g.A.data.every((v) => Number(v) === 0) && g.B.data.every((v) => Number(v) === 0)).toBe(true);
    expect(g.e.data.every((v) => Number(v) !== 0)).toBe(true);
  });

  it('spends the whole budget on the layer that has to change, and keeps the masked at zero to the end', async () => {
    const options = { rank: 4, targetRank: 1, startSteps: 10, finalSteps: 15, every: 5, orthogonality: 0 };
    const { layers, live } = await parallelLayers(options, 100, 0.01);
    expect(layers.map(liveOf)).toEqual([2, 0]);
    expect(new Set(live.slice(-15))).toEqual(new Set([2]));
    expect(live.slice(0, 11)).toEqual(new Array(11).fill(8));
  });

  it('never masks where the target is the start', async () => {
    const { layers } = await parallelLayers(
      { rank: 3, targetRank: 3, startSteps: 0, finalSteps: 5 },
      20,
      0.01,
    );
    expect(layers.map(liveOf)).toEqual([3, 3]);
  });

  it('refuses schedules that leave nothing to allocate, and targets above the start', async () => {
    await expect(
      parallelLayers({ rank: 4, startSteps: 5, finalSteps: 5, targetRank: 2 }, 10, 0),
    ).rejects.toMatchObject({
      code: 'adapters/adalora-schedule',
    });
    await expect(parallelLayers({ rank: 4, targetRank: 5 }, 10, 0)).rejects.toMatchObject({
      code: 'adapters/adalora-schedule',
    });
  });

  it('scales by α / (r₀ + 1e-5)', async () => {
    const s = shaken(await start(adalora, layer(3, 4), { rank: 2, alpha: 3 }));
    const { A, B, e } = arraysOf(s);
    const own = [0, 1].reduce((t, k) => t + Number(B.data[k]) * Number(e.data[k]) * Number(A.data[k * 4]), 0);
    expect(Number(weightOf(s).data[0]) - Number(s.original.data[0])).toBeCloseTo((own * 3) / (2 + 1e-5), 9);
  });

  it('has no penalty on orthonormal factors, and a finite gradient there', async () => {
    const s = await start(adalora, layer(8, 10), { rank: 4, orthogonality: 1 });
    const columns = (rows: number, seed: number) =>
      qr({ rows, cols: 4, data: normal([rows, 4], seed).data as Float32Array }).q.data;
    const B = { dtype: 'float32' as const, shape: [8, 4], data: columns(8, 1) };
    const q = columns(10, 2);
    const A = array(
      Float32Array.from({ length: 40 }, (_, i) => q[(i % 10) * 4 + Math.floor(i / 10)]),
      [4, 10],
    );
    const symbols = { A: input('A', [4, 10]), B: input('B', [8, 4]), e: input('e', [4]) };
    const penalty = adalora.penalty!(symbols, s.options, 3);
    const [gA, gB] = gradients(penalty, [symbols.A, symbols.B]);
    const at = (feeds: Record<string, NDArray>) => evaluate(program({ penalty, gA, gB }), feeds);
    expect(Number(at({ A, B }).penalty.data[0])).toBeLessThan(1e-6);
    const zero = { ...A, data: new Float32Array(40) };
    for (const feeds of [
      { A, B },
      { A: zero, B: { ...B, data: new Float32Array(32) } },
    ])
      for (const g of [at(feeds).gA, at(feeds).gB])
        expect([...g.data].every((v) => Number.isFinite(Number(v)))).toBe(true);
    // Not squared, averaged over the two factors of each of three layers: ‖0 − I₄‖ = 2.
    expect(Number(at({ A: zero, B }).penalty.data[0])).toBeCloseTo(2 / 6, 6);
  });

  it('writes what the masked model computes, without the masked triplets', async () => {
    const s = shaken(await start(adalora, layer(8, 10), { rank: 4 }));
    s.factors.trainable.e.data[1] = 0;
    s.factors.trainable.e.data[3] = 0;
    const own = adalora.toPeft!([exported(s)], s.options);
    expect(own.config.rank_pattern).toEqual({ 'h.0.m8x10.lora_E': [true, false, true, false] });
    expect(Object.values(own.tensors).map((t) => t.shape)).toEqual([
      [2, 10],
      [8, 2],
      [2, 1],
    ]);
    const plain = adalora.toLora!([exported(s)], s.options);
    expect(plain.config).toMatchObject({
      peft_type: 'LORA',
      rank_pattern: { 'h.0.m8x10': 2 },
      alpha_pattern: { 'h.0.m8x10': 2 },
    });
    for (const [form, file] of [
      [adalora, own],
      [lora, plain],
    ] as const) {
      const { options, factors } = form.fromPeft!(file, [s.spec]);
      const read = {
        ...s,
        form,
        options: resolveOptions(options, s.spec),
        factors: factors.get(s.spec.name)!,
      };
      expect(maxDifference(weightOf(read), weightOf(s))).toBeLessThan(1e-6);
    }
  });

  it('leaves layers without triplets out of a plain LORA, and keeps them empty in its own file', async () => {
    const [full, empty] = [
      shaken(await start(adalora, layer(8, 10), { rank: 4 })),
      await start(adalora, layer(6, 10), { rank: 4 }),
    ];
    const layers = [exported(full), exported(empty)];
    expect(adalora.toLora!(layers, full.options).config.target_modules).toEqual([full.spec.name]);
    const own = adalora.toPeft!(layers, full.options);
    expect(own.tensors[`base_model.model.${empty.spec.name}.lora_A`].shape).toEqual([0, 10]);
    const read = adalora.fromPeft!(own, [full.spec, empty.spec]).factors.get(empty.spec.name)!;
    expect(read.trainable.A.shape).toEqual([4, 10]);
    expect(read.trainable.e.data.every((v) => Number(v) === 0)).toBe(true);
  });
});
