import { afterAll, describe, expect, it } from 'vitest';
import { cut, drawPieces, pieces } from '../../experiments/images/segmenter/membranes.ts';
import { segmenter } from '../../experiments/images/segmenter/model.ts';
import { AREA, dice, type Picture, SIDE, turned } from '../../experiments/images/segmenter/pictures.ts';
import { segmenterReport } from '../../experiments/images/segmenter/report.ts';
import { shapes } from '../../experiments/images/segmenter/shapes.ts';
import {
  beginSegmenter,
  diceOf,
  drawFrom,
  maskLoss,
  trainSegmenter,
} from '../../experiments/images/segmenter/training.ts';
import { createEngine } from '../../src/engine/index.ts';
import { constant, gradients, input, program } from '../../src/graph/index.ts';

const engine = await createEngine({ threads: 1 });
afterAll(() => engine.dispose());

const numbered = (side: number) => new Float32Array(side * side).map((_, i) => i);

describe('pictures', () => {
  it('are cut from a section where they lie', () => {
    const section = { side: 2 * SIDE, pixels: numbered(2 * SIDE), mask: numbered(2 * SIDE) };
    expect(pieces(section).map((p) => p.pixels[0])).toEqual([0, 64, 8192, 8256]);
    const { pixels, mask } = cut(section, 3, 5);
    expect([pixels[0], pixels[63], pixels[64], mask[AREA - 1]]).toEqual([389, 452, 517, 66 * 128 + 68]);
    expect(drawPieces([section, section], 2, 1)).toEqual(drawPieces([section, section], 2, 1));
  });

  it('are turned with their masks, in eight ways', () => {
    const picture = { pixels: numbered(SIDE), mask: numbered(SIDE) };
    const ways = Array.from({ length: 8 }, (_, way) => turned(picture, way));
    expect(new Set(ways.map(({ pixels }) => `${pixels[0]} ${pixels[1]}`)).size).toBe(8);
    for (const { pixels, mask } of ways) {
      expect(mask).toEqual(pixels);
      expect([...pixels].sort((a, b) => a - b)).toEqual([...numbered(SIDE)]);
    }
  });

  it('of shapes are brighter inside their masks, and drawn alike again', () => {
    for (const { pixels, mask } of shapes(1, 0, 5)) {
      const meanOf = (value: number) => {
        const chosen = pixels.filter((_, i) => mask[i] === value);
        return chosen.reduce((a, b) => a + b, 0) / chosen.length;
      };
      expect(meanOf(1)).toBeGreaterThan(meanOf(0) + 0.3);
    }
    expect(shapes(1, 3, 2)).toEqual(shapes(1, 0, 5).slice(3));
  });
});

it('Dice is the share of what both have', () => {
  const [a, b] = [Float32Array.of(1, 1, 0, 0), Float32Array.of(0, 1, 1, 1)];
  expect(dice([a], [b])).toBeCloseTo(2 / 5, 12);
  expect(dice([a, b], [a, a])).toBeCloseTo((2 * 3) / 9, 12);
  expect(dice([new Float32Array(4)], [new Float32Array(4)])).toBe(1);
});

it('the loss is what its definition gives, and finite for sure answers', async () => {
  const [z, t] = [
    [0.5, -2, 60, -60],
    [1, 0, 0, 1],
  ];
  const odds = input('z', [1, 4]);
  const masks = constant({ dtype: 'float32', shape: [1, 4], data: Float32Array.from(t) });
  const loss = maskLoss(odds, masks);
  const [slope] = gradients(loss, [odds]);
  const feeds = { z: { dtype: 'float32' as const, shape: [1, 4], data: Float32Array.from(z) } };
  const executable = await engine.compile(program({ loss, slope }));
  const result = await executable.run(feeds);
  const p = z.map((v) => 1 / (1 + Math.exp(-v)));
  const right = p.map((v, i) => (t[i] === 1 ? v : 1 - v));
  const surprise = z.map((v, i) => Math.log1p(Math.exp(t[i] === 1 ? -v : v)));
  const focal = surprise.reduce((s, v, i) => s + (1 - right[i]) ** 2 * v, 0) / 4;
  const inside = p.reduce((s, v, i) => s + v * t[i], 0);
  const soft = (2 * inside + 1) / (p.reduce((s, v) => s + v, 0) + 2 + 1);
  expect(Number(result.loss.data[0])).toBeCloseTo(20 * focal + 1 - soft, 3);
  expect([...(result.slope.data as Float32Array)].every(Number.isFinite)).toBe(true);
});

it('the report puts the best first, with what the data can tell apart', () => {
  const row = (method: string, rate: number, dices: readonly number[][]) => {
    const runs = dices.map((test, i) => ({
      rate,
      seed: i + 1,
      trainable: 1234,
      valid: 0.5,
      test,
      seconds: 3,
    }));
    return { method, rate, runs, standard: runs };
  };
  const report = segmenterReport({
    settings: { seeds: [1, 2], rates: [2e-3, 1e-2], batch: 8, steps: 9, pieces: 30 },
    ...{ weights: 5000, baseline: { shapes: 0.9, membranes: 0.1 } },
    rows: [
      row('a', 2e-3, [Array(20).fill(0.3), Array(20).fill(0.302)]),
      row('b', 1e-2, [Array(20).fill(0.5), Array(20).fill(0.502)]),
      row('c', 1e-2, [Array(20).fill(0.2), Array(20).fill(0.75)]),
    ],
  });
  expect(report).toContain(
    '| **b** | 1,234 | 0.501 | 0.488 – 0.514 | 0.500, 0.502 | 0.01 | 0.501 | 3 |\n| **c** |',
  );
  expect(report).toMatch(/\n\| a \|.*\| default \|/);
  expect(report).toContain('| b − a | 0.200 | 0.200 – 0.200 | 0.000 |');
});

describe('the segmenter', () => {
  const size = { width: 32, blocks: 1 };
  const model = segmenter(1, size);
  const pictures = shapes(2, 0, 4);
  const start = { steps: 1, batch: 4, seed: 1, rate: 1e-3 };
  const scores = async (form?: { method: string; options: Record<string, unknown> }) =>
    diceOf(await beginSegmenter(engine, model, { ...start, form }), [pictures]);

  it('starts at the base under SALT, of linear layers and convolutions, and learns', async () => {
    const everywhere = { targets: '.*(qkv|proj|fc1|fc2|patch|neck)' };
    const form = { method: 'salt', options: { rank: 2, ...everywhere } };
    expect(await scores(form)).toEqual(await scores());
    const few: Picture[] = pictures.slice(0, 2);
    const treatment = { form, rate: 1e-2, steps: 12, batch: 2, seed: 1 };
    const learned = await trainSegmenter(engine, model, treatment, drawFrom(few, 2, 1));
    const [before] = await scores();
    const [after] = await diceOf(learned, [pictures]);
    expect(after).toBeGreaterThan(before);
    // Per layer 2t + 2(k − t)ρ with t = ⌊k/10⌋: 4 linear layers, the neck and the patches, all of k = 32.
    const salt = (k: number) => 2 * Math.floor(k / 10) + 4 * (k - Math.floor(k / 10));
    expect(learned.trainable).toBe(6 * salt(32) + 64 * 33);
    const [name, weight] = [...model.weights].find(([n]) => n === 'neck.weight')!;
    expect(weight.data, name).toEqual(segmenter(1, size).weights.get('neck.weight')!.data);
  });
});
