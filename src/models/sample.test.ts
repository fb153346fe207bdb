import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { random } from '../linalg/index.ts';
import {
  argmax,
  checkSampling,
  chooseToken,
  drawToken,
  keepTopP,
  type Sampling,
  warpScores,
} from './sample.ts';

interface Case {
  sampling: Sampling;
  logits: number[];
  seen: number[];
  warped: (number | null)[];
}

const golden = new URL('../../tests/golden/models/sampling.json', import.meta.url);
const cases: Case[] = JSON.parse(readFileSync(golden, 'utf8'));

describe('warpScores', () => {
  it.each(cases)('does what transformers does: $sampling', ({ sampling, logits, seen, warped }) => {
    const scores = warpScores(Float32Array.from(logits), seen, sampling);
    warped.forEach((want, i) => {
      if (want === null) expect(scores[i]).toBe(-Infinity);
      else expect(Math.abs(scores[i] - want)).toBeLessThan(1e-5 * Math.max(1, Math.abs(want)));
    });
  });

  it('leaves the given scores alone', () => {
    const logits = Float32Array.of(1, 2, 3);
    warpScores(logits, [0], { temperature: 2, topK: 1, repetitionPenalty: 2 });
    expect([...logits]).toEqual([1, 2, 3]);
  });
});

it('top-p over a large vocabulary keeps the smallest set that reaches p', () => {
  const scores = new Float32Array(50_000);
  random(1, 'scores').fillNormal(scores);
  const kept = scores.slice();
  keepTopP(kept, 0.6);
  const weights = [...scores].map(Math.exp).sort((a, b) => b - a);
  const total = weights.reduce((a, b) => a + b);
  let size = 0;
  for (let sum = 0; sum < 0.6 * total; size++) sum += weights[size];
  expect(kept.filter((x) => x > -Infinity).length).toBe(size);
});

describe('drawToken', () => {
  it('draws each token as often as its probability says', () => {
    const scores = Float32Array.of(Math.log(1), Math.log(2), -Infinity, Math.log(5));
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 800; i++) counts[drawToken(scores, (i + 0.5) / 800)]++;
    expect(counts).toEqual([100, 200, 0, 500]);
  });

  it('never draws an excluded token, not even at the ends', () => {
    const scores = Float32Array.of(-Infinity, 0, -Infinity);
    expect(drawToken(scores, 0)).toBe(1);
    expect(drawToken(scores, 1 - 2 ** -53)).toBe(1);
  });
});

describe('chooseToken', () => {
  const cursor = () => random(3, 'test').cursor();

  it('is greedy by default and takes the first of equal scores', () => {
    expect(chooseToken(Float32Array.of(0, 7, 7, 1), [], {}, cursor())).toBe(1);
    expect(argmax(Float32Array.of(-3, -1, -2))).toBe(1);
  });

  it('penalizes repetition where it is greedy, too', () => {
    const scores = Float32Array.of(2, 1.9, -1);
    expect(chooseToken(scores, [0], { repetitionPenalty: 1.2 }, cursor())).toBe(1);
  });

  it('repeats its draws for one seed', () => {
    const scores = new Float32Array(100);
    const draw = () => {
      const c = cursor();
      return Array.from({ length: 20 }, () => chooseToken(scores, [], { temperature: 1 }, c));
    };
    expect(draw()).toEqual(draw());
    expect(new Set(draw()).size).toBeGreaterThan(10);
  });

  it('refuses scores that are no numbers', () => {
    const broken = new Float32Array(4).fill(Number.NaN);
    expect(() => chooseToken(broken, [], {}, cursor())).toThrow(
      expect.objectContaining({ code: 'models/scores' }),
    );
  });
});

it.each([
  { temperature: -1 },
  { temperature: 1, topK: 0 },
  { temperature: 1, topP: 0 },
  { temperature: 1, minP: 2 },
  { repetitionPenalty: 0 },
  { topP: 0.9 },
])('checkSampling refuses %o', (sampling) => {
  expect(() => checkSampling(sampling)).toThrow(expect.objectContaining({ code: 'models/sampling' }));
});
