import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { renderFrame } from './frame.ts';
import { evaluationLine, logLine } from './log-line.ts';
import type { RunView } from './run-view.ts';
import { COLOURED } from './style.ts';
import { widthOf } from './text.ts';

const losses = Array.from({ length: 213 }, (_, i) => ({
  step: i + 1,
  value: 1.1 + 3.2 * Math.exp(-i / 40) + 0.1 * Math.sin(1.7 * i),
}));

const view: RunView = {
  title: 'LoRA r=8 on SmolLM2-135M',
  status: 'training',
  step: 213,
  total: 1000,
  losses,
  loss: 1.2345,
  rate: 3e-4,
  tokensPerSecond: 12_345,
  memory: { now: 1.17e9, peak: 1.52e9 },
  secondsPassed: 192,
  secondsLeft: 725,
  evaluations: [
    { step: 100, values: { 'eval/loss': 1.9 }, best: true },
    { step: 200, values: { 'eval/loss': Number.NaN, 'eval/accuracy': 0.25 } },
  ],
};

describe('frames', () => {
  test.each([40, 80, 200])('at %d columns', (width) => {
    expect(renderFrame(view, width).join('\n')).toMatchSnapshot();
  });

  test('before the first update', () => {
    const early = {
      ...view,
      step: 0,
      losses: [],
      loss: undefined,
      tokensPerSecond: undefined,
      secondsLeft: undefined,
    };
    expect(renderFrame({ ...early, evaluations: [] }, 60).join('\n')).toMatchSnapshot();
  });

  const views = fc.record({
    title: fc.string({ unit: 'binary', maxLength: 300 }),
    status: fc.string({ unit: 'grapheme', maxLength: 60 }),
    step: fc.nat({ max: 1e9 }),
    losses: fc.array(fc.record({ step: fc.nat({ max: 1e9 }), value: fc.double() }), { maxLength: 30 }),
    loss: fc.double(),
    secondsLeft: fc.option(fc.double({ min: 0 }), { nil: undefined }),
    metrics: fc.array(fc.tuple(fc.string({ unit: 'grapheme', maxLength: 20 }), fc.double()), {
      maxLength: 4,
    }),
    count: fc.nat({ max: 12 }),
  });

  test('no line is wider than the terminal and no frame higher, whatever is shown', () => {
    fc.assert(
      fc.property(
        views,
        fc.integer({ min: 40, max: 200 }),
        fc.integer({ min: 10, max: 60 }),
        (parts, width, rows) => {
          const evaluations = Array.from({ length: parts.count }, (_, i) => ({
            step: 10 * i,
            values: Object.fromEntries(parts.metrics),
            best: i === 1,
          }));
          const sorted = parts.losses.toSorted((a, b) => a.step - b.step);
          for (const style of [undefined, COLOURED]) {
            const lines = renderFrame({ ...view, ...parts, losses: sorted, total: 1e9, evaluations }, width, {
              rows,
              style,
            });
            for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(width);
            expect(lines.length).toBeLessThan(rows);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test('colours change nothing but codes', () => {
    const codes = new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, 'g');
    const coloured = renderFrame(view, 80, { style: COLOURED });
    expect(coloured.join('\n')).not.toBe(renderFrame(view, 80).join('\n'));
    expect(coloured.map((line) => line.replace(codes, ''))).toEqual(renderFrame(view, 80));
  });

  test('the best evaluation stays in sight', () => {
    const evaluations = Array.from({ length: 20 }, (_, i) => ({
      step: i,
      values: { loss: 1 },
      best: i === 3,
    }));
    const lines = renderFrame({ ...view, evaluations }, 80, { rows: 40 }).slice(-5);
    expect(lines.map((line) => line.trim().split(/ +/))).toEqual([
      ['3', '1', 'best'],
      ['16', '1'],
      ['17', '1'],
      ['18', '1'],
      ['19', '1'],
    ]);
  });
});

test('plain lines', () => {
  expect(logLine(view)).toBe(
    'step  213/1000  loss 1.2345  rate 3.0e-4  12.3K tokens/s  peak 1.42 GiB  12 m 05 s left',
  );
  expect(evaluationLine(view.evaluations[0], 1000)).toBe('step  100/1000  eval/loss 1.9000  best');
});
