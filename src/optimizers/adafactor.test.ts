import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blockMatrix, gap, normal, numbers, rehearse } from '../../tests/optimizers.ts';
import { recorded, recordedParameters, recordedRun } from '../../tests/optimizers-memory.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { adafactor } from './adafactor.ts';
import { type ParameterInfo, stateBytes } from './optimizer.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

const tall = blockMatrix('tall', 6, 4);
const start = (info: ParameterInfo) => [info, normal(info.shape, `start/${info.name}`)] as const;

/** What one step with this gradient moves the weight by. */
async function moved(options: Record<string, unknown>, size: number, steps = 1): Promise<number[]> {
  const run = rehearse(engine, adafactor, options, [start(tall)]);
  for (let t = 1; t <= steps; t++)
    await run.step(new Map([[tall.name, normal(tall.shape, 'g', t, size)]]), 0.1, t);
  return numbers(run.arrays.get(tall.name)!).map((w, i) => w - Number(start(tall)[1].data[i]));
}

describe('20 steps as transformers', () => {
  it.each(recorded.adafactor)('$options', async ({ options, weights }) => {
    const parameters = recordedParameters((name, shape) => ({ name, shape, role: 'other' }));
    for (const [name, own] of await recordedRun(engine, adafactor, options, parameters))
      expect(gap(own, weights[name]), name).toBeLessThan(2e-6);
  });
});

describe('the update', () => {
  it('does not see the size of the gradients, and is clipped to a root mean square', async () => {
    const [plain, scaled] = [await moved({}, 1, 3), await moved({}, 1e4, 3)];
    expect(gap(plain, scaled)).toBeLessThan(1e-6);
    const clipped = await moved({ clipThreshold: 0.25 }, 1);
    const size = Math.sqrt(clipped.reduce((s, x) => s + x * x, 0) / clipped.length);
    expect(size).toBeCloseTo(0.1 * 0.25, 6);
  });

  it('survives gradients of zero and of the smallest size', async () => {
    for (const size of [0, 1e-30]) {
      const steps = await moved({}, size, 3);
      expect(steps.every(Number.isFinite)).toBe(true);
    }
  });
});

describe('state', () => {
  const bytes = (info: ParameterInfo, options = {}) =>
    stateBytes(adafactor.rules([info], adafactor.options.parse(options), 0));

  it('is m + n numbers a matrix, m n more with a first moment, n for a vector', () => {
    const info = blockMatrix('w', 512, 1376);
    expect(bytes(info)).toBe(4 * (512 + 1376));
    expect(bytes(info, { beta1: 0.9 })).toBe(4 * (512 + 1376 + 512 * 1376));
    expect(bytes({ name: 'norm', shape: [512], role: 'norm' })).toBe(4 * 512);
    expect(bytes({ name: 'conv', shape: [8, 3, 5, 5], role: 'other' })).toBe(4 * (8 * 3 * 5 + 8 * 3 * 5));
  });
});

it('refuses a relative warm-up without relative steps', () => {
  expect(() => adafactor.options.parse({ warmupInit: true })).toThrow(/needs relativeStep/);
});
