import { describe, expect, it } from 'vitest';
import { evaluate, gradients, input, mul, type NDArray, program, sum, type Tensor } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import type { Architecture } from './architecture.ts';
import { traceContext } from './context.ts';
import { lorentzDistance, lorentzInner, lorentzLinear, lorentzPoint } from './lorentz.ts';

const [ROWS, IN, OUT] = [4, 5, 3];

function normal(shape: readonly number[], seed: number): NDArray {
  const data = new Float64Array(shape.reduce((a, b) => a * b, 1));
  random(seed, 'lorentz').fillNormal(data);
  return { dtype: 'float64', shape, data };
}

const architecture = {
  parameters: new Map([
    ['f.weight', { shape: [OUT, IN + 1], init: 'zeros' }],
    ['f.bias', { shape: [OUT], init: 'zeros' }],
  ]),
  layers: [{ name: 'f', kind: 'linear', out: OUT, in: IN + 1, bias: true }],
} as unknown as Architecture;

const given = {
  space: normal([ROWS, IN], 1),
  'f.weight': normal([OUT, IN + 1], 2),
  'f.bias': normal([OUT], 3),
  direction: normal([ROWS, OUT + 1], 4),
};

/** Rows of a result. */
function rowsOf({ data, shape }: NDArray): number[][] {
  const width = shape[shape.length - 1];
  return Array.from({ length: data.length / width }, (_, i) =>
    Array.from(data.subarray(i * width, (i + 1) * width), Number),
  );
}

const inner = ([x0, ...x]: number[], [y0, ...y]: number[]) =>
  x.reduce((n, v, i) => n + v * y[i], 0) - x0 * y0;

const points = (K: number) => lorentzPoint(input('space', [ROWS, IN]), K);
function pointsAndLayer(K: number) {
  const x = points(K);
  return { x, y: lorentzLinear(traceContext(architecture), 'f', x, K) };
}

function run(outputs: Record<string, Tensor>, feeds: Record<string, NDArray> = given) {
  const p = program(outputs);
  return evaluate(p, Object.fromEntries(p.inputs.map(({ name }) => [name, feeds[name]])));
}

describe.each([1, 0.25, 4])('curvature −%d', (K) => {
  it('keeps points on the hyperboloid, through the layer too', () => {
    const { x, y } = run(pointsAndLayer(K));
    for (const row of [...rowsOf(x), ...rowsOf(y)]) {
      expect(inner(row, row)).toBeCloseTo(-1 / K, 10);
      expect(row[0]).toBeGreaterThan(0);
    }
  });

  it('computes the space part as an ordinary layer of the whole point', () => {
    const { x, y } = run(pointsAndLayer(K));
    const w = rowsOf(given['f.weight']);
    for (const [i, row] of rowsOf(x).entries())
      for (let o = 0; o < OUT; o++) {
        const expected = row.reduce((n, v, k) => n + v * w[o][k], Number(given['f.bias'].data[o]));
        expect(rowsOf(y)[i][o + 1]).toBeCloseTo(expected, 10);
      }
  });

  it('has the gradients of finite differences', () => {
    const names = ['space', 'f.weight', 'f.bias'] as const;
    const traced = traceContext(architecture);
    const space = input('space', [ROWS, IN]);
    const y = lorentzLinear(traced, 'f', lorentzPoint(space, K), K);
    // Through the distance to other points too, as a decoder uses it.
    const others = lorentzPoint(input('others', [ROWS, OUT]), K);
    const loss = sum(mul(lorentzDistance(y, others, K), input('weights', [ROWS, 1])));
    const loss2 = sum(mul(y, input('direction', [ROWS, OUT + 1])));
    const of = [space, traced.parameter('f.weight'), traced.parameter('f.bias')];
    const feeds = { ...given, others: normal([ROWS, OUT], 5), weights: normal([ROWS, 1], 6) };
    for (const goal of [loss, loss2]) {
      const derived = gradients(goal, of);
      const exact = run(Object.fromEntries(names.map((n, i) => [n, derived[i]])), feeds);
      const at = () => Number(run({ goal }, feeds).goal.data[0]);
      for (const name of names) {
        const data = feeds[name].data as Float64Array;
        for (let i = 0; i < data.length; i++) {
          const kept = data[i];
          data[i] = kept + 1e-6;
          const up = at();
          data[i] = kept - 1e-6;
          const slope = (up - at()) / 2e-6;
          data[i] = kept;
          expect(Math.abs(Number(exact[name].data[i]) - slope) / Math.max(1, Math.abs(slope))).toBeLessThan(
            1e-6,
          );
        }
      }
    }
  });

  it('measures distances: none to itself, the same both ways, ⟨x − y, x − y⟩', () => {
    const x = points(K);
    const y = lorentzPoint(input('other', [ROWS, IN]), K);
    const feeds = { ...given, other: normal([ROWS, IN], 7) };
    const result = run(
      {
        x,
        y,
        own: lorentzDistance(x, x, K),
        there: lorentzDistance(x, y, K),
        back: lorentzDistance(y, x, K),
      },
      feeds,
    );
    const [a, b] = [rowsOf(result.x), rowsOf(result.y)];
    for (let i = 0; i < ROWS; i++) {
      const between = a[i].map((v, k) => v - b[i][k]);
      expect(Number(result.own.data[i])).toBeCloseTo(0, 9);
      expect(Number(result.there.data[i])).toBeCloseTo(inner(between, between), 9);
      expect(Number(result.there.data[i])).toBeGreaterThan(0);
      expect(result.back.data[i]).toBe(result.there.data[i]);
    }
  });
});

it('is the same seen from elsewhere: a boost changes no product', () => {
  const [cosh, sinh] = [Math.cosh(0.7), Math.sinh(0.7)];
  const boosted = ([x0, x1, ...rest]: number[]) => [cosh * x0 + sinh * x1, sinh * x0 + cosh * x1, ...rest];
  const rows = rowsOf(run({ x: points(1) }).x);
  const asArray = (list: number[][]): NDArray => ({
    dtype: 'float64',
    shape: [ROWS, IN + 1],
    data: Float64Array.from(list.flat()),
  });
  const shifted = [...rows.slice(1), rows[0]];
  const product = lorentzInner(input('a', [ROWS, IN + 1]), input('b', [ROWS, IN + 1]));
  const here = run({ product }, { a: asArray(rows), b: asArray(shifted) }).product;
  const there = run({ product }, { a: asArray(rows.map(boosted)), b: asArray(shifted.map(boosted)) }).product;
  here.data.forEach((v: number | bigint, i: number) => {
    expect(Number(there.data[i])).toBeCloseTo(Number(v), 9);
  });
});
