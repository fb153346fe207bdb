import type { NDArray } from '../graph/index.ts';

/** When AdaLoRA's budget shrinks; updates are counted from 0. */
export interface BudgetSchedule {
  /** b₀ and b_T: triplets of all matrices together. */
  readonly initial: number;
  readonly target: number;
  /** t_i, t_f and Δ_T. */
  readonly startSteps: number;
  readonly finalSteps: number;
  readonly every: number;
  /** T. */
  readonly total: number;
}

/** b(t): constant, then cubic from b₀ to b_T, then constant. */
export function budgetAt(t: number, s: BudgetSchedule): number {
  const end = s.total - s.finalSteps;
  if (t <= s.startSteps) return s.initial;
  if (t >= end) return s.target;
  const left = 1 - (t - s.startSteps) / (end - s.startSteps);
  return Math.floor(s.target + (s.initial - s.target) * left ** 3);
}

/**
 * Whether triplets are switched off after update t: every Δ_T updates while the budget shrinks, then after every one.
 * The last update always does, so that no run ends above its target.
 */
export function masksAt(t: number, s: BudgetSchedule): boolean {
  if (t >= s.total - s.finalSteps || t === s.total - 1) return true;
  return t > s.startSteps && t % s.every === 0;
}

/** Running importance of the entries of one factor. */
export interface Importance {
  /** Ī, smoothed |w g|. */
  readonly mean: NDArray;
  /** Ū, smoothed |I − Ī|. */
  readonly spread: NDArray;
}

/** Ī ← β₁ Ī + (1 − β₁) |w g|, Ū ← β₂ Ū + (1 − β₂) |I − Ī| with the new Ī; in place. */
export function updateImportance(
  { mean, spread }: Importance,
  weight: NDArray,
  gradient: NDArray,
  beta1: number,
  beta2: number,
): void {
  const [m, s] = [mean.data as Float32Array, spread.data as Float32Array];
  const [w, g] = [weight.data as Float32Array, gradient.data as Float32Array];
  for (let i = 0; i < m.length; i++) {
    const now = Math.abs(w[i] * g[i]);
    m[i] = beta1 * m[i] + (1 - beta1) * now;
    s[i] = beta2 * s[i] + (1 - beta2) * Math.abs(now - m[i]);
  }
}

/** S_i = s(e_i) + mean_j s(A_ij) + mean_j s(B_ji) of one matrix's triplets, s = Ī Ū. */
export function tripletScores(e: Importance, a: Importance, b: Importance): Float64Array {
  const [r, n] = a.mean.shape;
  const [m] = b.mean.shape;
  const score = (x: Importance, i: number) => Number(x.mean.data[i]) * Number(x.spread.data[i]);
  return Float64Array.from({ length: r }, (_, i) => {
    let [overA, overB] = [0, 0];
    for (let j = 0; j < n; j++) overA += score(a, i * n + j);
    for (let j = 0; j < m; j++) overB += score(b, j * r + i);
    return score(e, i) + overA / n + overB / m;
  });
}

/** The score up to which triplets are switched off so that `budget` stay; −∞ where none has to go. Ties at it all go. */
export function threshold(scores: readonly Float64Array[], budget: number): number {
  const all = Float64Array.from(scores.flatMap((s) => [...s])).sort();
  const drop = all.length - budget;
  return drop > 0 ? all[drop - 1] : Number.NEGATIVE_INFINITY;
}
