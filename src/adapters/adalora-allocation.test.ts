import { describe, expect, it } from 'vitest';
import { array } from '../graph/index.ts';
import {
  type BudgetSchedule,
  budgetAt,
  masksAt,
  threshold,
  tripletScores,
  updateImportance,
} from './adalora-allocation.ts';

const schedule: BudgetSchedule = {
  initial: 24,
  target: 8,
  startSteps: 10,
  finalSteps: 20,
  every: 5,
  total: 130,
};

describe('allocation of AdaLoRA', () => {
  it('shrinks the budget along a cubic curve', () => {
    expect(budgetAt(10, schedule)).toBe(24);
    expect(budgetAt(60, schedule)).toBe(8 + 16 / 8);
    expect(budgetAt(110, schedule)).toBe(8);
    for (let t = 1; t < schedule.total; t++)
      expect(budgetAt(t, schedule)).toBeLessThanOrEqual(budgetAt(t - 1, schedule));
  });

  it('masks every few updates, always in the final phase and after the last update', () => {
    const masked = (s: BudgetSchedule) =>
      Array.from({ length: s.total }, (_, t) => t).filter((t) => masksAt(t, s));
    const tiny = { ...schedule, startSteps: 4, every: 3, total: 14 };
    expect(masked({ ...tiny, finalSteps: 4 })).toEqual([6, 9, 10, 11, 12, 13]);
    expect(masked({ ...tiny, finalSteps: 0 })).toEqual([6, 9, 12, 13]);
  });

  it('leaves exactly the budget, without ties; all that tie go; an unchanged budget asks for nothing', () => {
    const scores = [Float64Array.of(3, 1, 5), Float64Array.of(2, 4, 0.5)];
    const kept = (limit: number, s = scores) => s.flatMap((row) => [...row].filter((v) => v > limit)).length;
    for (let budget = 0; budget <= 6; budget++) expect(kept(threshold(scores, budget))).toBe(budget);
    const ties = [Float64Array.of(1, 1, 2), Float64Array.of(1, 3, 4)];
    expect(kept(threshold(ties, 5), ties)).toBe(3);
    expect(threshold(scores, 6)).toBe(Number.NEGATIVE_INFINITY);
  });

  it('scores triplets as computed by hand', () => {
    const importance = (shape: number[]) => ({
      mean: array(new Array(shape.reduce((a, b) => a * b)).fill(0), shape),
      spread: array(new Array(shape.reduce((a, b) => a * b)).fill(0), shape),
    });
    const [e, a, b] = [importance([2]), importance([2, 2]), importance([1, 2])];
    const update = (i: typeof e, w: number[], g: number[]) =>
      updateImportance(i, array(w, i.mean.shape), array(g, i.mean.shape), 0.5, 0.75);
    update(e, [1, 2], [2, -1]); // I = 2, 2; mean 1, 1; spread 0.25, 0.25
    update(a, [1, 1, 2, 0], [4, 0, 1, 1]); // I = 4, 0, 2, 0; mean 2, 0, 1, 0; spread 0.5, 0, 0.25, 0
    update(b, [1, -3], [8, 0]); // I = 8, 0; mean 4, 0; spread 1, 0
    expect([...tripletScores(e, a, b)]).toEqual([0.25 + 1 / 2 + 4, 0.25 + 0.25 / 2]);
    update(e, [0, 1], [1, 2]); // I = 0, 2; mean 0.5, 1.5; spread 0.1875 + 0.125, 0.1875 + 0.125
    expect([...e.mean.data, ...e.spread.data]).toEqual([0.5, 1.5, 0.3125, 0.3125]);
  });
});
