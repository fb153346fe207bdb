import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytes, difference, probability, seconds, shortCount } from './format.ts';
import { type Box, LETTER, overlap, placeLabels } from './labels.ts';
import { shortened } from './ranks.ts';
import { linearScale, logScale, outerFence, tightScale } from './scale.ts';
import { frontier } from './tradeoff-points.ts';

describe('scales', () => {
  it('ends a linear axis at round numbers and marks them', () => {
    const scale = linearScale(0.123, 0.98, [0, 100], 5);
    expect(scale.ticks).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(scale.at(0.5)).toBeCloseTo(50);
    expect(linearScale(2, 2, [0, 10]).at(2)).toBeCloseTo(5);
  });

  it('ends a tight axis where its values end', () => {
    const scale = tightScale(0, 250, [10, 260], 3);
    expect(scale.ticks).toEqual([0, 100, 200]);
    expect([scale.at(0), scale.at(250)]).toEqual([10, 260]);
  });

  it('places equal ratios at equal distances', () => {
    const scale = logScale(40_000, 4_000_000, [0, 300]);
    expect(scale.ticks).toEqual([50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000]);
    expect(scale.at(1e6) - scale.at(1e5)).toBeCloseTo(scale.at(5e5) - scale.at(5e4));
  });

  it('holds ticks inside the domain and in order, whatever the values', () => {
    fc.assert(
      fc.property(
        fc.double({ min: -1e3, max: 1e3, noNaN: true }),
        fc.double({ min: 1e-4, max: 1e6, noNaN: true }),
        (low, size) => {
          const { ticks, domain } = linearScale(low, low + size, [0, 100]);
          const slack = 1e-9 * Math.max(Math.abs(domain[0]), Math.abs(domain[1]));
          expect(ticks.length).toBeGreaterThan(1);
          expect(ticks.length).toBeLessThan(14);
          for (const [i, tick] of ticks.entries()) {
            expect(tick).toBeGreaterThanOrEqual(domain[0] - slack);
            expect(tick).toBeLessThanOrEqual(domain[1] + slack);
            if (i > 0) expect(tick).toBeGreaterThan(ticks[i - 1]);
          }
          expect(domain[0]).toBeLessThanOrEqual(low + slack);
          expect(domain[1]).toBeGreaterThanOrEqual(low + size - slack);
        },
      ),
    );
  });

  it('fences off what is far on the bad side only', () => {
    const values = [1, 1.1, 1.2, 1.3, 9];
    expect(outerFence(values, 'above')).toBeCloseTo(1.3 + 3 * 0.2);
    expect(outerFence(values, 'below')).toBeCloseTo(1.1 - 3 * 0.2);
  });
});

describe('the frontier', () => {
  const point = fc.record({ cost: fc.integer({ min: 1, max: 9 }), quality: fc.integer({ min: 0, max: 9 }) });
  it('is exactly what no other point dominates', () => {
    fc.assert(
      fc.property(fc.array(point, { minLength: 1, maxLength: 12 }), fc.boolean(), (points, highIsGood) => {
        const better = (a: number, b: number) => (highIsGood ? a > b : a < b);
        const key = (p: { cost: number; quality: number }) => `${p.cost}/${p.quality}`;
        const dominated = (p: (typeof points)[number]) =>
          points.some(
            (o) =>
              (o.cost < p.cost && !better(p.quality, o.quality)) ||
              (o.cost === p.cost && better(o.quality, p.quality)),
          );
        const expected = new Set(points.filter((p) => !dominated(p)).map(key));
        const found = frontier(points, better).map(key);
        expect(new Set(found)).toEqual(expected);
        expect(found.length).toBe(expected.size);
      }),
    );
  });
});

describe('labels', () => {
  const bounds: Box = { x: 0, y: 0, width: 600, height: 300 };
  it('do not cover each other or their points, and leave out what has no place', () => {
    const crowd = Array.from({ length: 30 }, (_, i) => ({
      text: `method ${i}`,
      x: 300 + 4 * (i % 5),
      y: 150 + 4 * Math.floor(i / 5),
      must: false,
    }));
    const points = crowd.map(({ x, y }) => ({ x: x - 5, y: y - 5, width: 10, height: 10 }));
    const placed = placeLabels(crowd, points, bounds).filter((p) => p !== undefined);
    expect(placed.length).toBeGreaterThan(3);
    expect(placed.length).toBeLessThan(30);
    const boxes = placed.map(({ text, x, y, anchor }): Box => {
      const width = text.length * LETTER * 12;
      return { x: x - { start: 0, middle: width / 2, end: width }[anchor], y: y - 10, width, height: 12 };
    });
    for (const [i, box] of boxes.entries()) {
      for (const other of [...boxes.slice(i + 1), ...points]) expect(overlap(box, other)).toBe(0);
      expect(box.x).toBeGreaterThanOrEqual(0);
      expect(box.x + box.width).toBeLessThanOrEqual(600);
    }
  });

  it('stay where it is crowded if they must', () => {
    const wall = [{ x: 0, y: 0, width: 600, height: 300 }];
    const label = { text: 'best', x: 300, y: 150 };
    expect(placeLabels([{ ...label, must: false }], wall, bounds)).toEqual([undefined]);
    expect(placeLabels([{ ...label, must: true }], wall, bounds)[0]).toMatchObject({ text: 'best' });
  });
});

describe('texts', () => {
  it('have units and few digits', () => {
    expect([bytes(999), bytes(999_600), bytes(312_400_000), bytes(1_480_880)]).toEqual([
      '999 B',
      '1 MB',
      '312 MB',
      '1.48 MB',
    ]);
    expect([shortCount(369_920), shortCount(4_152_064), shortCount(12)]).toEqual(['370k', '4.15M', '12']);
    expect([seconds(0.42), seconds(94), seconds(185), seconds(7620)]).toEqual([
      '0.42 s',
      '94 s',
      '3 min 05 s',
      '2 h 07 min',
    ]);
    expect([difference(-0.013, { name: 'accuracy' }), difference(0.0213, { name: 'loss' })]).toEqual([
      '−1.3',
      '+0.021',
    ]);
    expect(difference(-0.0001, { name: 'loss' })).toBe('0.000');
    expect([probability(0.0004), probability(0.0321)]).toEqual(['< 0.001', '0.032']);
  });

  it('name layers by where they differ', () => {
    expect(shortened(['model.layers.0.q.weight', 'model.layers.11.v.weight'])).toEqual(['0.q', '11.v']);
    expect(shortened(['lm_head'])).toEqual(['lm_head']);
  });
});
