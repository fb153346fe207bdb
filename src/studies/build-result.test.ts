import { expect, test } from 'vitest';
import { random } from '../linalg/index.ts';
import { buildResult, judgedAgain } from './build-result.ts';
import type { StudyRun } from './results.ts';
import type { StudyState } from './run-study.ts';
import { recommended } from './verdict.ts';

/** A finished study of losses; `level` gives a method's loss under a seed, or undefined where that run failed. */
function finished(
  methods: readonly string[],
  seeds: readonly number[],
  level: (method: string, seed: number) => number | undefined,
): StudyState {
  const runs = methods.flatMap((method) =>
    seeds.map((seed): StudyRun => {
      const middle = level(method, seed);
      const noise = new Float64Array(60);
      random(seed, `test/${method}`).fillNormal(noise);
      const examples = Array.from(noise, (x) => (middle ?? 0) + 0.05 * x);
      const mean = examples.reduce((a, b) => a + b) / examples.length;
      return {
        ...{ key: `${method}-${seed}`, method, purpose: 'default', seed, folder: '', versions: {} },
        recipe: {} as StudyRun['recipe'],
        hardware: { processor: '', cores: 1, threads: 1 },
        state: middle === undefined ? 'failed' : 'done',
        scores: middle === undefined ? undefined : [{ metric: 'loss', direction: 'min', mean, examples }],
      };
    }),
  );
  return {
    study: { name: 's', question: '', output: '', metric: 'loss', seeds } as unknown as StudyState['study'],
    planned: methods.map((id) => ({
      method: { id, label: id, fields: {} },
      settings: {},
      row: { method: id, label: id, fits: true, chosen: {} },
    })),
    ...{ runs, tuned: new Map(), curves: new Map(), total: runs.length },
  };
}

test('a winner among many methods is found, whatever their number', () => {
  const methods = Array.from({ length: 24 }, (_, i) => `m${i}`);
  const result = buildResult(finished(methods, [1, 2, 3], (m) => (m === 'm7' ? 1 : 2)));
  expect(result.comparisons).toHaveLength((24 * 23) / 2);
  expect(result.verdict.winner).toBe('m7');
  expect(result.methods.filter((m) => m.amongBest).map((m) => m.method)).toEqual(['m7']);
});

test('a difference that only seeds make is not a winner, though all three agree', () => {
  const own: Record<string, number[]> = { a: [1, 1.4, 1.9], b: [1.1, 1.9, 2.0] };
  const result = buildResult(finished(['a', 'b'], [1, 2, 3], (m, seed) => own[m][seed - 1]));
  expect(result.methods.map((m) => m.amongBest)).toEqual([true, true]);
  expect(result.verdict.winner).toBeUndefined();
});

test('a method that failed on a seed is no winner, however good its other seeds', () => {
  const loss: Record<string, number> = { a: 1, b: 2, c: 5 };
  const level = (m: string, seed: number) => (m === 'a' && seed === 3 ? undefined : loss[m]);
  const { verdict, caveats } = buildResult(finished(['a', 'b', 'c'], [1, 2, 3], level));
  expect(verdict.winner).toBe('b');
  expect(verdict.headline).toContain('Use b');
  expect(caveats.join()).toContain('a failed on at least one seed');
});

test('one that is left alone is better than nobody', () => {
  const { verdict } = buildResult(finished(['a', 'b'], [1, 2], (m) => (m === 'a' ? 1 : undefined)));
  expect(verdict.winner).toBeUndefined();
  expect(verdict.headline).toContain('nothing to compare it with');
});

test('one seed claims nothing', () => {
  const result = buildResult(finished(['a', 'b'], [1], (m) => (m === 'a' ? 1 : 9)));
  expect(result.comparisons).toEqual([]);
  expect(result.methods.every((m) => m.interval === undefined)).toBe(true);
  expect(result.verdict.winner).toBeUndefined();
});

test('while runs are still to come no winner is named', () => {
  const state = finished(['a', 'b'], [1, 2, 3], (m) => (m === 'a' ? 1 : 9));
  const result = buildResult({ ...state, total: state.total + 3 });
  expect(result.verdict.headline).toContain('so far');
  expect(result.verdict.winner).toBeUndefined();
});

test('which run ends first changes nothing', () => {
  const state = finished(['a', 'b'], [1, 2, 3], (m, seed) => (m === 'a' ? seed : 2 * seed));
  expect(buildResult({ ...state, runs: [...state.runs].reverse() })).toEqual(buildResult(state));
});

test('judged again from what it holds, a result says the same', () => {
  const loss: Record<string, number> = { a: 1, b: 1.01, c: 5 };
  const result = buildResult(finished(['a', 'b', 'c'], [1, 2, 3], (m) => loss[m]));
  const forgotten = result.methods.map((m) => ({ ...m, amongBest: false, interval: undefined }));
  expect(judgedAgain({ ...result, methods: forgotten, comparisons: [] })).toEqual(result);
});

test('of those in front the one that is much cheaper is chosen; one behind a worse method is not', () => {
  // d's seeds vary so much that it cannot be told from a, though c, which can, is better in the mean.
  const own: Record<string, number[]> = { a: [1, 1, 1], b: [1.01, 1, 1.02], c: [2, 2, 2], d: [1, 2.5, 5] };
  const seconds: Record<string, number> = { a: 10, b: 8, c: 1, d: 1 };
  const state = finished(['a', 'b', 'c', 'd'], [1, 2, 3], (m, seed) => own[m][seed - 1]);
  const timed = (b: number) =>
    buildResult({
      ...state,
      runs: state.runs.map((r) => ({
        ...r,
        measured: { wall: 1, peakMemory: 1, processor: r.method === 'b' ? b : seconds[r.method] },
      })),
    });
  const [quick, slow] = [timed(8), timed(9.5)];
  expect(quick.methods.map((m) => [m.method, m.amongBest])).toEqual([
    ...[
      ['a', true],
      ['b', true],
      ['c', false],
    ],
    ['d', true],
  ]);
  expect(recommended(quick)?.method).toBe('b');
  expect(quick.verdict.headline).toBe(
    'No clear winner among a, b and d: b takes the least time of the first 2.',
  );
  expect(recommended(slow)?.method).toBe('a');
  expect(slow.verdict.headline).toBe(
    'No clear winner among a, b and d: a has the best mean, and none takes much less time.',
  );
  expect(quick.caveats.join()).toContain(
    'd cannot be told from the best because scores vary much over seeds',
  );
});
