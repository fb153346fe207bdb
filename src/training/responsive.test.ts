import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { TASK_DATA, writeTinyModel } from '../../tests/tiny-model.ts';
import { train } from './train.ts';

/** Largest delay of a 10 ms timer, in milliseconds, while `work` goes on. */
async function slipDuring(work: () => Promise<unknown>): Promise<number> {
  let [last, slip] = [performance.now(), 0];
  const timer = setInterval(() => {
    const now = performance.now();
    slip = Math.max(slip, now - last - 10);
    last = now;
  }, 10);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return slip;
}

// On a machine with other work a timer may be late for reasons that are not ours: hence several tries. A step that
// blocked this thread would be late every time, for its steps take several times the 100 ms.
test('a timer of the main thread does not slip by 100 ms while a run trains', { retry: 4 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rankine-responsive-'));
  const model = await writeTinyModel(join(folder, 'base'), { num_hidden_layers: 4 });
  const seconds: number[] = [];
  const run = () =>
    train(
      { model, data: `${TASK_DATA}test.jsonl`, batch: 64, steps: 4, threads: 1, output: join(folder, 'run') },
      { onEvent: (event) => event.type === 'step' && seconds.push(performance.now() / 1000) },
    );
  const slip = await slipDuring(run);
  rmSync(folder, { recursive: true });
  const shortest = Math.min(...seconds.slice(1).map((s, i) => s - seconds[i]));
  expect(shortest).toBeGreaterThan(0.2);
  expect(slip).toBeLessThan(100);
});
