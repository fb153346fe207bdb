import { expect, test } from 'vitest';
import { residentMemory } from './memory.ts';
import { progressMeter } from './progress.ts';

test('pace of the window, without the first update and without pauses', () => {
  let time = 100;
  const meter = progressMeter({ total: 50, from: 10, window: 3, clock: () => time });
  time += 9; // the first update creates sessions
  expect(meter.advance(11, 500)).toMatchObject({ step: 11, stepsPerSecond: 1 / 9, secondsPassed: 9 });
  time += 2;
  expect(meter.advance(12, 500)).toMatchObject({
    tokensPerSecond: 250,
    stepsPerSecond: 0.5,
    secondsLeft: 76,
  });
  time += 1000; // an evaluation
  meter.pause();
  time += 2;
  expect(meter.advance(13, 500)).toMatchObject({ tokensPerSecond: 250, secondsPassed: 1013 });
  for (let step = 14; step <= 16; step++) {
    time += 1;
    meter.advance(step, 300);
  }
  time += 1;
  expect(meter.advance(17, 300)).toMatchObject({ tokensPerSecond: 300, stepsPerSecond: 1, secondsLeft: 33 });
});

test('no time, no pace', () => {
  const progress = progressMeter({ total: 2, clock: () => 5 }).advance(1, 10);
  expect(progress).toEqual({ step: 1, total: 2, secondsPassed: 0 });
});

test('a meter over nothing is refused', () => {
  expect(() => progressMeter({ total: 0 })).toThrow(
    expect.objectContaining({ code: 'training/bad-progress' }),
  );
});

test('resident memory sees 200 MB come', () => {
  const before = residentMemory();
  const block = Buffer.alloc(200e6, 1);
  const { now, peak } = residentMemory();
  expect(now - before.now).toBeGreaterThan(150e6);
  expect(now - before.now).toBeLessThan(300e6);
  expect(peak).toBeGreaterThanOrEqual(now);
  expect(block[block.length - 1]).toBe(1);
});
