import { expect, it } from 'vitest';
import { add, input, program, zeros } from '../graph/index.ts';
import { createEngine } from './index.ts';
import { runWithheld } from './withheld.ts';

it('leaves no copies of outputs behind, given or not', async () => {
  const engine = await createEngine({ threads: 1 });
  const shape = [1024, 1024];
  const x = input('x', shape);
  const { run } = await engine.compile(program({ y: add(x, 1), z: add(x, 2) }));
  const [feeds, y] = [{ x: zeros(shape) }, zeros(shape)];
  const before = process.memoryUsage().arrayBuffers;
  const { z } = await run(feeds, { y });
  const grown = process.memoryUsage().arrayBuffers - before;
  expect([y.data[0], z.data[0]]).toEqual([1, 2]);
  // One array for z, which was not given.
  expect(grown).toBeLessThan(1.5 * z.data.byteLength);
  await engine.dispose();
});

it('passes on what fails for another reason', async () => {
  const failing = { run: () => Promise.reject(new Error('Missing Input: x')) };
  await expect(runWithheld(failing as never, {}, {})).rejects.toThrow('Missing Input');
});
