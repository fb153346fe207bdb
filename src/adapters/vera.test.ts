import { describe, expect, it } from 'vitest';
import { svd } from '../linalg/index.ts';
import {
  checkForwardIsWeight,
  checkGradients,
  checkShapes,
  exported,
  layer,
  maxDifference,
  minus,
  normal,
  outputOf,
  rankOf,
  shaken,
  start,
  unadapted,
  weightOf,
} from './form-checks.contract.ts';
import { checkAgainstPeft } from './peft-golden.contract.ts';
import { vera } from './vera.ts';

const x = normal([2, 3, 10], 3);

describe('VeRA', () => {
  it('starts as the base and trains m + r numbers', async () => {
    const s = await start(vera, layer(8, 10), { rank: 5 });
    expect(weightOf(s).data).toEqual(Float64Array.from(s.original.data as Float32Array));
    expect(Object.fromEntries(Object.entries(s.factors.trainable).map(([k, a]) => [k, a.shape]))).toEqual({
      d: [5],
      b: [8],
    });
    expect(s.factors.trainable.d.data[4]).toBeCloseTo(0.1);
    checkShapes(s);
  });

  it.each([3, 14])(
    'has right gradients, merges exactly, changes by rank min(r, m, n) at r = %i',
    async (rank) => {
      const s = shaken(await start(vera, layer(8, 10), { rank }));
      checkGradients(s, x);
      checkForwardIsWeight(s, x);
      expect(rankOf(minus(weightOf(s), s.original), svd)).toBe(Math.min(rank, 8));
    },
  );

  it('gives every layer slices of one random pair: same numbers up to the Kaiming scale, one array a shape', async () => {
    const small = await start(vera, layer(6, 5), { rank: 4 });
    const wide = await start(vera, layer(9, 20), { rank: 4 });
    const [a, b] = [small.factors.frozen, wide.factors.frozen];
    for (let k = 0; k < 4; k++)
      for (let j = 0; j < 5; j++)
        expect(Number(a.A.data[k * 5 + j])).toBeCloseTo(2 * Number(b.A.data[k * 20 + j]), 6);
    expect([...b.B.data].slice(0, 24)).toEqual([...a.B.data]);
    const twin = await start(vera, { ...layer(6, 5), name: 'h.1.twin' }, { rank: 4 });
    expect(twin.factors.frozen.A.data).toBe(a.A.data);
    const other = await start(vera, layer(6, 5), { rank: 4, seed: 1 });
    expect(other.factors.frozen.A.data).not.toEqual(a.A.data);
  });

  it('drops the input of its own path only', async () => {
    const s = shaken(await start(vera, layer(8, 10), { rank: 4, dropout: 0.5 }));
    const zero = { ...x, data: new Float32Array(60) };
    const dropped = outputOf(s, x, { training: true, drop: zero });
    const plain = outputOf(unadapted(s), x);
    expect(maxDifference(dropped, plain)).toBe(0);
  });

  it('goes through PEFT’s file for layers of different shapes', async () => {
    const specs = [layer(6, 5), layer(9, 20)];
    const starts = await Promise.all(specs.map((l) => start(vera, l, { rank: 4 })));
    const trained = starts.map((s) => shaken(s));
    const file = vera.toPeft!(trained.map(exported), trained[0].options);
    const { factors } = vera.fromPeft!(file, specs);
    for (const s of trained) {
      const again = { ...s, factors: factors.get(s.spec.name)! };
      expect(maxDifference(weightOf(again), weightOf(s))).toBeLessThan(1e-6);
    }
  });

  it.each(['vera-llama', 'vera-gpt2'])('gives PEFT’s logits and losses: %s', (name) =>
    checkAgainstPeft(vera, name),
  );

  it('refuses alpha, rank patterns and a file of another base', async () => {
    expect(() => vera.options.parse({ alpha: 4 })).toThrow(/alpha/);
    expect(() => vera.options.parse({ rankPattern: { q: 4 } })).toThrow(/rankPattern/);
    const s = await start(vera, layer(6, 5), { rank: 4 });
    const file = vera.toPeft!([exported(s)], s.options);
    expect(() => vera.fromPeft!(file, [{ ...layer(7, 5), name: s.spec.name }])).toThrow(
      /vera_lambda_b for h.0.m6x5 is \[6\], but the layer takes \[7\]/,
    );
    expect(() => vera.fromPeft!(file, [layer(7, 5)])).toThrow(/does not have/);
  });
});
