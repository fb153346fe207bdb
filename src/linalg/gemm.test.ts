import fc from 'fast-check';
import { expect, it } from 'vitest';
import { multiplierBy } from './gemm.ts';
import { multiply, random, topK } from './index.ts';

it('multiplies as the definition does, for every shape, transposition and type', () => {
  const size = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(255, 256, 257));
  fc.assert(
    fc.property(
      size,
      size,
      size,
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      (m, n, k, transposeA, transposeB, single) => {
        const type = single ? Float32Array : Float64Array;
        const a = { rows: transposeA ? k : m, cols: transposeA ? m : k, data: new type(m * k) };
        const b = { rows: transposeB ? n : k, cols: transposeB ? k : n, data: new type(n * k) };
        random(1, 'a').fillNormal(a.data);
        random(1, 'b').fillNormal(b.data);
        const c = multiply(a, b, { transposeA, transposeB });
        const tolerance = (single ? 2 ** -24 : 2 ** -53) * 20 * k;
        for (let i = 0; i < m; i += 1 + (m >> 4))
          for (let j = 0; j < n; j += 1 + (n >> 4)) {
            let sum = 0;
            for (let l = 0; l < k; l++)
              sum += a.data[transposeA ? l * m + i : i * k + l] * b.data[transposeB ? j * k + l : l * n + j];
            expect(Math.abs(c.data[i * n + j] - sum)).toBeLessThan(tolerance);
          }
      },
    ),
    { numRuns: 60 },
  );
});

it('crosses the border of its column blocks', () => {
  const a = { rows: 3, cols: 2, data: Float64Array.from([1, 0, 0, 1, 2, -1]) };
  const b = { rows: 2, cols: 1500, data: new Float64Array(3000) };
  random(2, 'b').fillNormal(b.data);
  const c = multiply(a, b);
  expect(c.data.subarray(0, 3000)).toEqual(b.data);
  for (let j = 0; j < 1500; j++) expect(c.data[3000 + j]).toBe(2 * b.data[j] - b.data[1500 + j]);
});

it.each([Float32Array, Float64Array])(
  'multiplies by a matrix packed once as by the matrix, bit for bit (%o)',
  (type) => {
    for (const transposeB of [false, true]) {
      const b = { rows: 261, cols: 1030, data: new type(261 * 1030) };
      random(3, 'b').fillNormal(b.data);
      const times = multiplierBy(b, { transposeB });
      for (const rows of [1, 6]) {
        const x = { rows, cols: transposeB ? b.cols : b.rows, data: new type(rows * 1030) };
        random(4, 'x').fillNormal(x.data);
        expect(times(x)).toEqual(multiply(x, b, { transposeB }));
      }
    }
  },
);

it('finds the top k as a stable sort does', () => {
  const values = fc.array(fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constant(Number.NaN)));
  fc.assert(
    fc.property(values, fc.nat(), (x, seed) => {
      const k = seed % (x.length + 1);
      const rank = (v: number) => (Number.isNaN(v) ? -Infinity : v);
      const expected = Array.from(x.keys()).sort((i, j) => rank(x[j]) - rank(x[i]) || i - j);
      expect(Array.from(topK(x, k))).toEqual(expected.slice(0, k));
    }),
  );
  expect(() => topK([1], 2)).toThrow(expect.objectContaining({ code: 'linalg/range' }));
});
