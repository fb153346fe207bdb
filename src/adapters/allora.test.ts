import { describe, expect, it } from 'vitest';
import { evaluate, gradients, input, mul, type NDArray, program, sum } from '../graph/index.ts';
import { topological } from '../graph/tensor.ts';
import { allora } from './allora.ts';
import {
  arraysOf,
  exported,
  gradientsOf,
  layer,
  maxDifference,
  normal,
  outputOf,
  type Started,
  shaken,
  start,
  trace,
} from './form-checks.contract.ts';
import { lora } from './lora.ts';

const [ROWS, M, N, R] = [4, 6, 5, 2];
const x = normal([ROWS, N], 3);
/** What `gradientsOf` takes for ∂L/∂y. */
const delta = normal([ROWS, M], 55);

/** ALLoRA, and LoRA of the same factors with scale 1. */
async function both(options: Record<string, unknown> = {}, moved = true): Promise<[Started, Started]> {
  const begun = await start(allora, layer(M, N), { rank: R, ...options });
  const own = moved ? shaken(begun) : begun;
  const plain = await start(lora, layer(M, N), { rank: R, alpha: R });
  return [own, { ...plain, factors: own.factors }];
}

function inputGradient(s: Started): NDArray {
  const { y } = trace(s, x, true);
  const nodes = topological([y]);
  const xs = nodes.find((n) => n.attributes.name === 'x')!.outputs[0];
  const [dx] = gradients(sum(mul(y, input('direction', y.shape))), [xs]);
  const p = program({ dx });
  const feeds: Record<string, NDArray> = { base: s.base, x, direction: delta, ...arraysOf(s) };
  return evaluate(p, Object.fromEntries(p.inputs.map(({ name }) => [name, feeds[name]]))).dx;
}

const total = (count: number, term: (i: number) => number) =>
  Array.from({ length: count }, (_, i) => term(i)).reduce((t, v) => t + v);
const at = (a: NDArray, i: number, j: number) => Number(a.data[i * a.shape[1] + j]);

/** ∂B = δ̃ᵀ (x Aᵀ) and ∂A = (δ̃ B)ᵀ x with δ̃ = δ ∘ κ. */
function expected(s: Started, kappa: (row: number, output: number) => number) {
  const { A, B } = s.factors.trainable;
  const d = (b: number, i: number) => at(delta, b, i) * kappa(b, i);
  const low = (b: number, k: number) => total(N, (j) => at(x, b, j) * at(A, k, j));
  const ofB = (i: number, k: number) => total(ROWS, (b) => d(b, i) * low(b, k));
  const ofA = (k: number, j: number) =>
    total(ROWS, (b) => total(M, (i) => d(b, i) * at(B, i, k)) * at(x, b, j));
  return {
    A: Float64Array.from({ length: R * N }, (_, k) => ofA(Math.floor(k / N), k % N)),
    B: Float64Array.from({ length: M * R }, (_, k) => ofB(Math.floor(k / R), k % R)),
  };
}

const change = (s: Started, i: number, j: number) =>
  total(R, (k) => at(s.factors.trainable.B, i, k) * at(s.factors.trainable.A, k, j));

/** Length of a row of B A. */
const rowLength = (s: Started, i: number) =>
  Math.hypot(...Array.from({ length: N }, (_, j) => change(s, i, j)));

function expectGradients(s: Started, kappa: (row: number, output: number) => number): void {
  const [got, wanted] = [gradientsOf(s, x), expected(s, kappa)];
  for (const name of ['A', 'B'] as const)
    for (const [i, v] of wanted[name].entries()) expect(Number(got[name].data[i])).toBeCloseTo(v, 5);
}

describe('ALLoRA as a form', () => {
  it('starts with η_max times the gradient of LoRA for B and none for A', async () => {
    const [own, plain] = await both({}, false);
    const [g, h] = [gradientsOf(own, x), gradientsOf(plain, x)];
    expect(g.A.data.every((v) => Number(v) === 0)).toBe(true);
    for (const [i, v] of h.B.data.entries()) expect(Number(g.B.data[i])).toBeCloseTo(10 * Number(v), 4);
  });

  it('computes what LoRA computes, and hands down the same gradient', async () => {
    const [own, plain] = await both();
    for (const training of [true, false])
      expect(maxDifference(outputOf(own, x, { training }), outputOf(plain, x, { training }))).toBe(0);
    expect(maxDifference(inputGradient(own), inputGradient(plain))).toBeLessThan(1e-6);
  });

  it('scales what reaches the factors by 1/√(‖D_i‖ + 1/η_max²), row by row', async () => {
    const [own] = await both();
    expectGradients(own, (_, i) => 1 / Math.sqrt(rowLength(own, i) + 1 / 100));
  });

  it('or by what the change gives out, each sample on its own', async () => {
    const [own] = await both({ norm: 'output', cap: 3 });
    const y = (b: number, i: number) => total(N, (j) => change(own, i, j) * at(x, b, j));
    expectGradients(own, (b, i) => 1 / Math.sqrt(Math.abs(y(b, i)) + 1 / 9));
  });

  it('or by the whole change, with another power', async () => {
    const [own] = await both({ norm: 'matrix', power: 1, cap: 4 });
    const whole = Math.hypot(...Array.from({ length: M }, (_, i) => rowLength(own, i)));
    expectGradients(own, () => 1 / (whole + 1 / 4));
  });

  it('is written as a LORA of scale 1', async () => {
    const [own] = await both();
    expect(allora.toPeft!([exported(own)], own.options).config).toMatchObject({ r: R, lora_alpha: R });
  });
});
