import { expect, test } from 'vitest';
import { type EarlyStopOptions, judge, NOT_EVALUATED } from './early-stop.ts';

/** Judges evaluations after updates 10, 20, … until the first stop. */
function run(values: number[], options: EarlyStopOptions) {
  let state = NOT_EVALUATED;
  const best: number[] = [];
  for (const [i, value] of values.entries()) {
    const verdict = judge(state, value, 10 * (i + 1), options);
    state = JSON.parse(JSON.stringify(verdict.state)); // as through a checkpoint
    if (verdict.isBest) best.push(10 * (i + 1));
    if (verdict.stop) return { stopped: 10 * (i + 1), best, state };
  }
  return { best, state };
}

test('stops after `patience` evaluations in a row without gain', () => {
  expect(run([3, 2, 2.5, 1, 1, 1.5, 0.5], { direction: 'min', patience: 2 })).toMatchObject({
    stopped: 60,
    best: [10, 20, 40],
    state: { best: { value: 1, step: 40 }, waited: 2 },
  });
});

test('max looks the other way', () => {
  expect(run([0.1, 0.3, 0.2, 0.3], { direction: 'max', patience: 2 })).toMatchObject({
    stopped: 40,
    best: [10, 20],
  });
});

test('gains below minDelta make a best checkpoint but do not reset the patience, also when they add up slowly', () => {
  const found = run([1, 0.96, 0.92, 0.88], { direction: 'min', patience: 2, minDelta: 0.1 });
  expect(found).toMatchObject({ stopped: 30, best: [10, 20, 30] });
  expect(
    run([1, 0.95, 0.89, 0.85], { direction: 'min', patience: 2, minDelta: 0.1 }).stopped,
  ).toBeUndefined();
});

test('without patience it never stops; NaN is never the best', () => {
  const found = run([Number.NaN, 2, Number.NaN, Number.NaN], { direction: 'min' });
  expect(found.stopped).toBeUndefined();
  expect(found).toMatchObject({ best: [20], state: { best: { value: 2, step: 20 }, waited: 2 } });
});

test.each([0, Number.NaN])('a patience of %d is refused', (patience) => {
  expect(() => judge(NOT_EVALUATED, 1, 1, { direction: 'min', patience })).toThrow(
    expect.objectContaining({ code: 'training/bad-patience' }),
  );
});
