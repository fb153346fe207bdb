import { RankineError } from '../errors.ts';
import { type Cursor, topK } from '../linalg/index.ts';

/** How the next token is chosen from its scores. */
export interface Sampling {
  /** Divides the scores; 0 takes the best token always (greedy). Default 0. */
  temperature?: number;
  /** Only the k best tokens (and those that tie with the last of them) can be drawn. */
  topK?: number;
  /** Only the smallest set of best tokens whose probabilities reach this sum can be drawn; in (0, 1]. */
  topP?: number;
  /** Only tokens at least this many times as probable as the best one can be drawn; in [0, 1]. */
  minP?: number;
  /** Makes tokens that were seen before less likely (above 1; Keskar et al., arXiv 1909.05858). Default 1. */
  repetitionPenalty?: number;
}

const LIMITS: Record<keyof Sampling, { valid: (x: number) => boolean; want: string }> = {
  temperature: { valid: (x) => x >= 0 && x < Infinity, want: 'a number of 0 or more' },
  topK: { valid: (x) => Number.isInteger(x) && x >= 1, want: 'an integer of 1 or more' },
  topP: { valid: (x) => x > 0 && x <= 1, want: 'a number above 0, at most 1' },
  minP: { valid: (x) => x >= 0 && x <= 1, want: 'a number from 0 to 1' },
  repetitionPenalty: { valid: (x) => x > 0 && x < Infinity, want: 'a positive number' },
};

/** @throws RankineError `models/sampling` for a value out of range, or one that greedy choice would ignore */
export function checkSampling(sampling: Sampling): void {
  for (const key of Object.keys(LIMITS) as (keyof Sampling)[]) {
    const value = sampling[key];
    if (value !== undefined && !LIMITS[key].valid(value))
      throw new RankineError('models/sampling', `${key} is ${value}.`, `Give ${LIMITS[key].want}.`);
  }
  if (sampling.temperature) return;
  const ignored = (['topK', 'topP', 'minP'] as const).find((key) => sampling[key] !== undefined);
  if (ignored)
    throw new RankineError(
      'models/sampling',
      `${ignored} has no effect where the temperature is 0 and the best token is always taken.`,
      'Give a temperature, e.g. 1.',
    );
}

// The rules below change `scores` in place and do what the processors of the same names in transformers do.

/** Divides the positive scores of `seen` tokens by `penalty` and multiplies the negative ones, once a token. */
export function penalizeRepetition(scores: Float32Array, seen: Iterable<number>, penalty: number): void {
  for (const id of new Set(seen)) scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
}

export function applyTemperature(scores: Float32Array, temperature: number): void {
  for (let i = 0; i < scores.length; i++) scores[i] /= temperature;
}

export function keepTopK(scores: Float32Array, k: number): void {
  const best = topK(scores, Math.min(k, scores.length));
  dropBelow(scores, scores[best[best.length - 1]]);
}

/** Drops the least probable tokens as long as their probabilities sum to at most 1 − p; the best one stays. */
export function keepTopP(scores: Float32Array, p: number): void {
  const { best, weights, total } = exponentials(scores);
  const budget = (1 - p) * total;
  // Tokens of a weight up to budget/n cannot exceed the budget together: no need to sort this long tail.
  const tail = budget / scores.length;
  const rest: number[] = [];
  let dropped = 0;
  for (let i = 0; i < scores.length; i++)
    if (weights[i] <= tail && i !== best) {
      dropped += weights[i];
      scores[i] = -Infinity;
    } else rest.push(i);
  rest.sort((a, b) => scores[a] - scores[b]);
  for (const i of rest.slice(0, -1)) {
    dropped += weights[i];
    if (dropped > budget) return;
    scores[i] = -Infinity;
  }
}

export function keepMinP(scores: Float32Array, minP: number): void {
  const best = scores[argmax(scores)];
  for (let i = 0; i < scores.length; i++) if (Math.exp(scores[i] - best) < minP) scores[i] = -Infinity;
}

function dropBelow(scores: Float32Array, limit: number): void {
  for (let i = 0; i < scores.length; i++) if (scores[i] < limit) scores[i] = -Infinity;
}

/**
 * The scores that are drawn from, as a new array: repetition penalty, temperature, top-k, top-p, min-p, in the order
 * of transformers. Excluded tokens are −∞.
 * @param seen prompt and generated tokens so far
 */
export function warpScores(logits: Float32Array, seen: Iterable<number>, s: Sampling): Float32Array {
  const scores = logits.slice();
  if (s.repetitionPenalty !== undefined) penalizeRepetition(scores, seen, s.repetitionPenalty);
  if (s.temperature) applyTemperature(scores, s.temperature);
  if (s.topK !== undefined) keepTopK(scores, s.topK);
  if (s.topP !== undefined && s.topP < 1) keepTopP(scores, s.topP);
  if (s.minP !== undefined) keepMinP(scores, s.minP);
  return scores;
}

/** Index of the largest score, the first of equal ones. */
export function argmax(scores: Float32Array): number {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i] > scores[best]) best = i;
  return best;
}

/** The token whose share of the softmax distribution covers `u` in [0, 1). */
export function drawToken(scores: Float32Array, u: number): number {
  const { best, weights, total } = exponentials(scores);
  let left = u * total;
  for (let i = 0; i < weights.length; i++) {
    left -= weights[i];
    if (left < 0) return i;
  }
  // Rounding can leave a crumb of the last share.
  return best;
}

/** exp(score − best score) of every token, and their sum. */
function exponentials(scores: Float32Array): { best: number; weights: Float64Array; total: number } {
  const best = argmax(scores);
  const weights = new Float64Array(scores.length);
  let total = 0;
  for (let i = 0; i < scores.length; i++) {
    weights[i] = Math.exp(scores[i] - scores[best]);
    total += weights[i];
  }
  return { best, weights, total };
}

/**
 * The next token. Consumes one number of the cursor where it draws, none where it is greedy.
 * @throws RankineError `models/scores` where the model's scores are not finite numbers
 */
export function chooseToken(
  logits: Float32Array,
  seen: Iterable<number>,
  sampling: Sampling,
  cursor: Cursor,
): number {
  const penalized = sampling.repetitionPenalty !== undefined && sampling.repetitionPenalty !== 1;
  const scores = sampling.temperature || penalized ? warpScores(logits, seen, sampling) : logits;
  const best = argmax(scores);
  if (!Number.isFinite(scores[best]))
    throw new RankineError(
      'models/scores',
      `The model's scores for the next token are not finite (${scores[best]}).`,
      'Its weights are broken, or training diverged.',
    );
  return sampling.temperature ? drawToken(scores, cursor.uniform()) : best;
}
