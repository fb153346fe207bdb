import { afterAll, beforeAll, expect, it } from 'vitest';
import { input, linear, matmul, program, type Tensor, toOnnx, transpose, zeros } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import { createEngine, type Engine } from './engine.ts';

let engines: Engine[] = [];
beforeAll(async () => {
  engines = await Promise.all([1, 4].map((threads) => createEngine({ threads })));
});
afterAll(() => Promise.all(engines.map((engine) => engine.dispose())));

/** Whether a product is cut into parts for so many threads. */
function split(y: Tensor, threads: number): boolean {
  return Buffer.from(toOnnx(program({ y }), { threads }).bytes).includes('ReduceSum');
}

const row = input('x', [1, 1, 256]);
const stored = input('w', [256, 96]);

it('one row times a matrix gives the same in parts', async () => {
  const y = linear(row, transpose(stored));
  const run = async (engine: Engine) => {
    const executable = await engine.compile(program({ y }));
    const feeds = executable.inputs.map(({ name, shape }) => {
      const value = zeros(shape);
      random(3, name).fillNormal(value.data as Float32Array);
      return [name, value] as const;
    });
    return (await executable.run(Object.fromEntries(feeds))).y;
  };
  const [whole, parts] = await Promise.all(engines.map(run));
  expect(parts.shape).toEqual([1, 1, 96]);
  expect(Math.max(...(whole.data as Float32Array))).toBeGreaterThan(10);
  parts.data.forEach((value, i) => {
    expect(Math.abs(Number(value) - Number(whole.data[i]))).toBeLessThan(1e-4);
  });
});

it('is cut only where parts are worth a thread and B is read in order', () => {
  expect(split(matmul(row, stored), 4)).toBe(true);
  expect(split(matmul(row, stored), 1)).toBe(false);
  expect(split(matmul(input('x', [1, 100]), input('w', [100, 9])), 4)).toBe(false);
  expect(split(matmul(input('x', [2, 256]), stored), 4)).toBe(false);
  expect(split(matmul(row, input('w', [1, 256, 96])), 4)).toBe(false);
  expect(split(linear(row, input('w', [96, 256])), 4)).toBe(false);
});
