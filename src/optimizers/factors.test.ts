import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asMatrix, blockMatrix, gap, numbers, type Rehearsal, rehearse } from '../../tests/optimizers.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array, type NDArray, zeros } from '../graph/index.ts';
import { multiply, transpose } from '../linalg/index.ts';
import { allora } from './allora.ts';
import { gradNormLorp } from './gradnormlorp.ts';
import { loraPro } from './lora-pro.ts';
import type { ParameterInfo } from './optimizer.ts';

type Values = readonly number[];
type Options = Record<string, unknown>;

interface Golden {
  A: Values;
  B: Values;
  W: Values;
  gradients: Values[];
  rates: Values;
  loraPro: { options: Options; scale: number; zeroB: boolean; A: Values; B: Values }[];
  allora: { options: Options; zeroB: boolean; A: Values; B: Values }[];
  matrices: { options: Options; wide: boolean; W: Values }[];
  factors: { options: Options; A: Values; B: Values; g: Values }[];
}

const golden: Golden = JSON.parse(
  readFileSync(new URL('../../tests/golden/optimizers/factors.json', import.meta.url), 'utf8'),
);

const [M, N, R] = [6, 5, 2];
const layer = { name: 'h.0.q', kind: 'linear', out: M, in: N, block: 0 } as const;
const factor = (name: 'A' | 'B' | 'magnitude', shape: readonly number[], scale?: number): ParameterInfo => ({
  name: `h.0.q#${name}`,
  shape,
  role: 'factor',
  factor: name,
  layer,
  scale,
});

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

const G = golden.gradients.map((g) => array(g, [M, N]));

function product(a: NDArray, b: NDArray, how: { transposeA?: boolean; transposeB?: boolean } = {}): NDArray {
  const { rows, cols, data } = multiply(asMatrix(a), asMatrix(b), how);
  return array(data, [rows, cols]);
}

const times = (a: NDArray, s: number) =>
  array(
    numbers(a).map((x) => x * s),
    a.shape,
  );

/** Walks the 20 steps; `gradients` gives those of the run's tensors from the full gradient. */
async function walk(run: Rehearsal, gradients: (g: NDArray) => Map<string, NDArray>): Promise<void> {
  for (const [t, g] of G.entries()) await run.step(gradients(g), golden.rates[t], t + 1);
}

function pair(scale: number, zeroB: boolean) {
  const [A, B] = [factor('A', [R, N], scale), factor('B', [M, R], scale)];
  return [
    [A, array(golden.A, A.shape)],
    [B, zeroB ? zeros(B.shape) : array(golden.B, B.shape)],
  ] as const;
}

/** The factors' gradients of a full gradient. */
function ofFactors(run: Rehearsal, s: number, g: NDArray) {
  const [A, B] = ['A', 'B'].map((f) => run.arrays.get(`h.0.q#${f}`)!);
  return new Map([
    ['h.0.q#A', times(product(B, g, { transposeA: true }), s)],
    ['h.0.q#B', times(product(g, A, { transposeB: true }), s)],
  ]);
}

function expectFactors(run: Rehearsal, expected: { A: Values; B: Values }): void {
  for (const f of ['A', 'B'] as const)
    expect(gap(numbers(run.arrays.get(`h.0.q#${f}`)!), expected[f]), f).toBeLessThan(2e-5);
}

describe('20 steps as derived from the papers in NumPy', () => {
  it.each(golden.loraPro)('lora-pro $options, s = $scale, B zero: $zeroB', async (given) => {
    const run = rehearse(engine, loraPro, given.options, pair(given.scale, given.zeroB));
    await walk(run, (g) => ofFactors(run, given.scale, g));
    expectFactors(run, given);
  });

  it.each(golden.allora)('allora $options, B zero: $zeroB', async (given) => {
    const run = rehearse(engine, allora, given.options, pair(1, given.zeroB));
    await walk(run, (g) => ofFactors(run, 1, g));
    expectFactors(run, given);
  });

  it.each(golden.matrices.flatMap((given) => [false, true].map((stored) => ({ ...given, stored }))))(
    'gradnormlorp $options on a matrix, wide: $wide, stored in×out: $stored',
    async (given) => {
      // Turned twice, once for being wide and once for the storage, it is itself.
      const turns = given.wide !== given.stored;
      const turned = (a: NDArray) => (turns ? asArray(transpose(asMatrix(a))) : a);
      const W = turned(array(golden.W, [M, N]));
      const plain = blockMatrix('w', ...(W.shape as [number, number]));
      const info = { ...plain, layer: { ...plain.layer!, transposed: given.stored } };
      const run = rehearse(engine, gradNormLorp, given.options, [[info, W]]);
      await walk(run, (g) => new Map([[info.name, turned(g)]]));
      const result = run.arrays.get(info.name)!;
      const out = given.stored ? asArray(transpose(asMatrix(result))) : result;
      expect(gap(numbers(out), given.W)).toBeLessThan(2e-5);
    },
  );

  it.each(golden.factors)("gradnormlorp $options on DoRA's factors", async (given) => {
    const magnitude = factor('magnitude', [M]);
    const W0 = numbers(array(golden.W, [M, N]));
    const start = Float64Array.from({ length: M }, (_, i) => Math.hypot(...W0.slice(i * N, i * N + N)));
    const run = rehearse(engine, gradNormLorp, given.options, [
      ...pair(2, false),
      [magnitude, array(start, [M])],
    ]);
    await walk(run, (g) => doraGradients(run, W0, g));
    expectFactors(run, given);
    expect(gap(numbers(run.arrays.get(magnitude.name)!), given.g)).toBeLessThan(2e-5);
  });
});

function asArray({ rows, cols, data }: { rows: number; cols: number; data: ArrayLike<number> }): NDArray {
  return array(data, [rows, cols]);
}

/** DoRA's, the norm held: the factors' from (g/‖V‖) G, the magnitude's from its direction. */
function doraGradients(run: Rehearsal, W0: Values, g: NDArray): Map<string, NDArray> {
  const [A, B, m] = ['A', 'B', 'magnitude'].map((f) => run.arrays.get(`h.0.q#${f}`)!);
  const V = numbers(product(B, A)).map((x, i) => W0[i] + 2 * x);
  const lengths = Array.from({ length: M }, (_, i) => Math.hypot(...V.slice(i * N, i * N + N)));
  const given = numbers(g);
  const ofV = given.map((x, i) => (x * Number(m.data[Math.floor(i / N)])) / lengths[Math.floor(i / N)]);
  const ofM = lengths.map((l, i) =>
    V.reduce((t, v, k) => t + (Math.floor(k / N) === i ? (v * given[k]) / l : 0), 0),
  );
  return ofFactors(run, 2, array(ofV, [M, N])).set('h.0.q#magnitude', array(ofM, [M]));
}
