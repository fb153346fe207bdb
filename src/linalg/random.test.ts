import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { inverseNormal, log } from './distributions.ts';
import { type Counter, fnv1a64, type Key, philox } from './philox.ts';
import { random } from './random.ts';

const hex = (a: Iterable<number>) => Array.from(a, (w) => w.toString(16).padStart(8, '0')).join(' ');
const ones = 0xffffffff;

describe('philox', () => {
  // Random123, tests/kat_vectors, philox4x32 with 10 rounds.
  it.each<[Counter, Key, string]>([
    [[0, 0, 0, 0], [0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    [[ones, ones, ones, ones], [ones, ones], '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      'd16cfe09 94fdcceb 5001e420 24126ea1',
    ],
  ])('gives the published words of counter %j, key %j', (counter, key, words) => {
    const out = new Uint32Array(4);
    philox(out, key, counter);
    expect(hex(out)).toBe(words);
  });

  it('counts on into the second word', () => {
    const two = new Uint32Array(8);
    const next = new Uint32Array(4);
    philox(two, [1, 2], [ones, 7, 3, 4]);
    philox(next, [1, 2], [0, 8, 3, 4]);
    expect(two.subarray(4)).toEqual(next);
  });

  it('hashes with FNV-1a', () => {
    // Test vectors of the FNV authors.
    expect(hex(fnv1a64(''))).toBe('84222325 cbf29ce4');
    expect(hex(fnv1a64('foobar'))).toBe('f73967e8 85944171');
  });
});

describe('distributions', () => {
  it('takes logarithms to the last bit but one', () => {
    fc.assert(
      fc.property(fc.double({ min: 2.3e-308, max: 1e308, noNaN: true }), (x) => {
        const exact = Math.log(x);
        expect(Math.abs(log(x) - exact)).toBeLessThanOrEqual(4e-16 * Math.abs(exact));
      }),
    );
  });

  it('inverts the normal distribution as scipy does', () => {
    const file = new URL('../../tests/golden/linalg/normal.json', import.meta.url);
    const golden = JSON.parse(readFileSync(file, 'utf8')) as { p: number[]; z: number[] };
    for (const [i, p] of golden.p.entries())
      expect(Math.abs(inverseNormal(p) - golden.z[i])).toBeLessThanOrEqual(1e-15 * Math.abs(golden.z[i]));
  });
});

function moments(x: ArrayLike<number>): number[] {
  const sums = [0, 0, 0, 0];
  for (let i = 0; i < x.length; i++) for (let k = 0; k < 4; k++) sums[k] += x[i] ** (k + 1);
  return sums.map((s) => s / x.length);
}

describe('random', () => {
  it.each([Float32Array, Float64Array])('has the moments of its distributions (%o)', (type) => {
    const n = 200_000;
    const x = new type(n);
    random(3, 'moments').fillUniform(x, 0);
    // Tolerances: five standard errors.
    for (const [k, value] of moments(x).entries())
      expect(Math.abs(value - 1 / (k + 2))).toBeLessThan((5 * 0.3) / Math.sqrt(n));
    random(3, 'moments').fillNormal(x, 1);
    const [mean, square, cube, fourth] = moments(x);
    expect(Math.abs(mean)).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(square - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    expect(Math.abs(cube)).toBeLessThan(5 * Math.sqrt(15 / n));
    expect(Math.abs(fourth - 3)).toBeLessThan(5 * Math.sqrt(96 / n));
  });

  it('keeps with the given probability', () => {
    const n = 200_000;
    const kept = new Uint8Array(n);
    for (const p of [0, 0.1, 0.9, 1]) {
      random(4, 'dropout').fillBernoulli(kept, p, 2);
      const mean = kept.reduce((s, v) => s + v, 0) / n;
      expect(Math.abs(mean - p)).toBeLessThanOrEqual(5 * Math.sqrt((p * (1 - p)) / n));
    }
  });

  it('draws a prefix of the same numbers into a shorter array, whatever its length', () => {
    const whole = new Float64Array(5000);
    random(9, 's').fillNormal(whole, 2n ** 60n);
    fc.assert(
      fc.property(fc.nat(5000), (n) => {
        const part = new Float64Array(n);
        random(9, 's').fillNormal(part, 2n ** 60n);
        expect(part).toEqual(whole.subarray(0, n));
      }),
      { numRuns: 30 },
    );
  });

  it('gives other numbers for another seed, stream or counter', () => {
    const draw = (seed: number, stream: string, counter: number) => {
      const out = new Float32Array(8);
      random(seed, stream).fillUniform(out, counter);
      return out.join();
    };
    const draws = [
      draw(0, 'a', 0),
      draw(1, 'a', 0),
      draw(0, 'b', 0),
      draw(0, 'a', 1),
      draw(-1, 'a', 2 ** 32),
    ];
    expect(new Set(draws).size).toBe(draws.length);
  });

  it('takes a bigint and a number as the same counter and seed', () => {
    const a = new Float32Array(5);
    const b = new Float32Array(5);
    random(2 ** 40, 'x').fillUniform(a, 2 ** 35 + 1);
    random(2n ** 40n, 'x').fillUniform(b, 2n ** 35n + 1n);
    expect(a).toEqual(b);
  });

  it('refuses what is no seed, counter or probability', () => {
    const r = random(0, '');
    expect(() => random(0.5, '')).toThrow(expect.objectContaining({ code: 'linalg/seed' }));
    expect(() => r.fillUniform(new Float32Array(1), -1)).toThrow(
      expect.objectContaining({ code: 'linalg/counter' }),
    );
    expect(() => r.fillBernoulli(new Uint8Array(1), 1.1)).toThrow(
      expect.objectContaining({ code: 'linalg/probability' }),
    );
  });
});

describe('cursor', () => {
  it('goes on from a saved state', () => {
    fc.assert(
      fc.property(fc.nat(300), (position) => {
        const first = random(5, 'cursor').cursor();
        for (let i = 0; i < position; i++) first.next();
        const second = random(0, 'other').cursor();
        second.state = JSON.parse(JSON.stringify(first.state));
        expect([second.normal(), second.uniform(), second.next()]).toEqual([
          first.normal(),
          first.uniform(),
          first.next(),
        ]);
      }),
    );
  });

  it('permutes', () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(), (n, seed) => {
        const order = random(seed, 'p').cursor().permutation(n);
        expect(order.toSorted()).toEqual(Int32Array.from({ length: n }, (_, i) => i));
      }),
    );
  });

  it('draws every order of three equally often', () => {
    const c = random(6, 'orders').cursor();
    const counts = new Map<string, number>();
    for (let i = 0; i < 6000; i++) {
      const order = c.permutation(3).join();
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(6);
    for (const n of counts.values()) expect(Math.abs(n - 1000)).toBeLessThan(5 * 29);
  });

  it('samples in proportion to the weights, without replacement', () => {
    const c = random(7, 'weights').cursor();
    const first = [0, 0, 0, 0];
    for (let i = 0; i < 10_000; i++) {
      const drawn = c.sample([1, 0, 2, 7], 3);
      expect(Array.from(drawn).sort()).toEqual([0, 2, 3]);
      first[drawn[0]]++;
    }
    // Five standard deviations of a binomial count.
    for (const [i, p] of [0.1, 0, 0.2, 0.7].entries())
      expect(Math.abs(first[i] - 10_000 * p)).toBeLessThanOrEqual(500 * Math.sqrt(p * (1 - p)));
  });

  it('refuses impossible draws', () => {
    const c = random(0, '').cursor();
    expect(() => c.sample([1, 0], 2)).toThrow(expect.objectContaining({ code: 'linalg/weights' }));
    expect(() => c.sample([1, -1], 1)).toThrow(expect.objectContaining({ code: 'linalg/weights' }));
    expect(() => c.integer(0)).toThrow(expect.objectContaining({ code: 'linalg/range' }));
  });
});
