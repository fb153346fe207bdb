import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ScheduleOptions, schedule } from './schedules.ts';

interface Golden {
  total: number;
  cases: { options: Partial<ScheduleOptions>; rates: number[] }[];
}

const golden: Golden = JSON.parse(
  readFileSync(new URL('../../tests/golden/training/schedules.json', import.meta.url), 'utf8'),
);

describe('values of transformers', () => {
  test.each(golden.cases)('$options', ({ options, rates }) => {
    const rate = schedule({ ...options, peak: 3e-4, total: golden.total } as ScheduleOptions);
    rates.forEach((expected, step) => {
      expect(rate(step) / 3e-4).toBeCloseTo(expected, 12);
    });
  });
});

const fading = fc.record({
  kind: fc.constantFrom('linear' as const, 'cosine' as const, 'warmup-stable-decay' as const),
  total: fc.integer({ min: 2, max: 300 }),
  warmup: fc.double({ min: 0, max: 0.5, noNaN: true }),
  decay: fc.double({ min: 0, max: 0.4, noNaN: true }),
  final: fc.double({ min: 0, max: 1, noNaN: true }),
});

test('0 at the start, peak at the end of the warm-up, the final share at the end, monotone between', () => {
  fc.assert(
    fc.property(fading, (options) => {
      const warmup = Math.ceil(options.warmup * options.total);
      const decay = Math.ceil(options.decay * options.total);
      fc.pre(warmup + Math.max(1, decay) <= options.total);
      const rate = schedule({ ...options, warmup, decay: Math.max(1, decay), peak: 0.01 });
      if (warmup > 0) expect(rate(0)).toBe(0);
      expect(rate(warmup)).toBeCloseTo(warmup === options.total ? 0.01 * options.final : 0.01, 14);
      expect(rate(options.total)).toBeCloseTo(0.01 * options.final, 14);
      for (let step = 1; step <= options.total; step++)
        if (step <= warmup) expect(rate(step)).toBeGreaterThan(rate(step - 1));
        else expect(rate(step)).toBeLessThanOrEqual(rate(step - 1) + 1e-17);
    }),
  );
});

test('the pretraining set-up: warm-up over 10 %, cosine to 10 %', () => {
  const rate = schedule({ kind: 'cosine', peak: 0.01, total: 10_000, warmup: 0.1, final: 0.1 });
  expect(rate(0)).toBe(0);
  expect(rate(500)).toBeCloseTo(0.005, 15);
  expect(rate(1000)).toBe(0.01);
  expect(rate(5500)).toBeCloseTo(0.0055, 15);
  expect(rate(10_000)).toBeCloseTo(0.001, 15);
});

test('a schedule shorter than the run holds its final rate', () => {
  const rate = schedule({ kind: 'linear', peak: 1, total: 100, length: 50, final: 0.25 });
  expect([24, 25, 50, 99].map(rate)).toEqual([0.64, 0.625, 0.25, 0.25]);
});

test('jagged cosine: 0 at each restart, back on the cosine after the rise', () => {
  const common = { peak: 1, total: 300, warmup: 20, final: 0.1 };
  const cosine = schedule({ kind: 'cosine', ...common });
  const rate = schedule({ kind: 'jagged-cosine', restartEvery: 100, restartWarmup: 10, ...common });
  for (const restart of [100, 200]) {
    expect(rate(restart)).toBe(0);
    expect(rate(restart + 5)).toBeCloseTo(cosine(restart + 10) / 2, 14);
    for (let step = restart + 10; step < restart + 100; step++) expect(rate(step)).toBe(cosine(step));
  }
  expect(rate(300)).toBeCloseTo(0.1, 14);
});

describe('refused', () => {
  const run = { peak: 1e-3, total: 100 };
  test.each<[string, string, ScheduleOptions]>([
    ['warm-up longer than the run', 'training/warmup-too-long', { kind: 'constant', ...run, warmup: 101 }],
    ['schedule longer than the run', 'training/schedule-too-long', { kind: 'cosine', ...run, length: 101 }],
    [
      'warm-up longer than the schedule',
      'training/warmup-too-long',
      { kind: 'cosine', ...run, length: 50, warmup: 60 },
    ],
    [
      'phases longer than the run',
      'training/schedule-too-long',
      { kind: 'warmup-stable-decay', ...run, warmup: 60, decay: 50 },
    ],
    [
      're-warm-up longer than a cycle',
      'training/warmup-too-long',
      { kind: 'jagged-cosine', ...run, restartEvery: 10, restartWarmup: 10 },
    ],
    ['a warm-up of one and a half updates', 'training/bad-schedule', { kind: 'linear', ...run, warmup: 1.5 }],
    ['a final rate above the peak', 'training/bad-schedule', { kind: 'linear', ...run, final: 1.1 }],
    ['no updates', 'training/bad-schedule', { kind: 'linear', ...run, total: 0 }],
    ['NaN as peak', 'training/bad-schedule', { kind: 'linear', ...run, peak: Number.NaN }],
  ])('%s', (_, code, options) => {
    expect(() => schedule(options)).toThrow(expect.objectContaining({ code }));
  });
});
