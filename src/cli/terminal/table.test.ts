import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bar } from './bar.ts';
import { table } from './table.ts';
import { fitWidth, flow, printable, truncate, widthOf } from './text.ts';

const cells = fc.string({ unit: 'grapheme', maxLength: 12 });

describe('table', () => {
  test('aligned, header and rule', () => {
    const rows = [['lora', '1.2M', '低秩适应'], ['full', '124M', ''], ['x']];
    expect(table(rows, { header: ['method', 'trainable'], align: ['left', 'right'] })).toEqual([
      'method  trainable',
      '──────  ─────────',
      'lora         1.2M  低秩适应',
      'full         124M',
      'x',
    ]);
  });

  test('the widest columns give way', () => {
    const rows = [['name', 'a long explanation of when to choose it', 'another quite long text']];
    expect(table(rows, { width: 40 })).toEqual(['name  a long explanat…  another quite l…']);
  });

  test('never wider than asked while columns can shrink', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(cells, { maxLength: 5 }), { maxLength: 5 }),
        fc.integer({ min: 30, max: 60 }),
        (rows, width) => {
          for (const line of table(rows, { width })) expect(widthOf(line)).toBeLessThanOrEqual(width);
        },
      ),
    );
  });

  test('no rows, no lines', () => {
    expect(table([])).toEqual([]);
  });
});

describe('text', () => {
  test('fitWidth gives exactly the width', () => {
    fc.assert(
      fc.property(cells, fc.integer({ min: 1, max: 20 }), (text, width) => {
        expect(widthOf(fitWidth(printable(text), width))).toBe(width);
      }),
    );
  });

  test('wide characters are not cut in half', () => {
    expect(truncate('低秩适应', 4)).toBe('低…');
    expect(fitWidth('低秩适应', 4, 'right')).toBe(' 低…');
  });

  test('a name cannot steer the terminal', () => {
    expect(printable('a\x1b[2Jb\nc')).toBe('a�[2Jb�c');
  });

  test('flow fills lines in order', () => {
    expect(flow(['aa', 'bb', 'cccc', 'd'], 7)).toEqual(['aa   bb', 'cccc', 'd']);
    expect(flow([], 7)).toEqual([]);
  });
});

test.each([
  [0, '    '],
  [1 / 32, '▏   '],
  [0.5, '██  '],
  [0.99, '████'],
  [7, '████'],
  [Number.NaN, '    '],
])('bar(%d)', (share, expected) => {
  expect(bar(share, 4)).toBe(expected);
});
