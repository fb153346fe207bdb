/**
 * Updates of a run on random weights, in a process of its own: one for each line that is read, the update's number;
 * prints the milliseconds of each. The line `state` is answered by the bytes of optimizer state.
 *
 *   node optimizer-process.js '{"config": {…}, "recipe": {…}, "total": 2000}'
 *
 * Its memory is to be that of `rankine train`: the run lies in a worker, the main thread has the package loaded, and all
 * is compiled first (bench/tsconfig.json), for a loader of TypeScript would take 75 MB.
 */
import { createInterface } from 'node:readline';
import { isMainThread, Worker } from 'node:worker_threads';
import { createEngine } from '../src/engine/index.ts';
import { random } from '../src/linalg/index.ts';
import type { Updates } from '../src/training/updates.ts';
import { type TrainingTask, trainingSide } from './training-side.ts';

/** An update is due a new basis where the old one is zero: random ones keep the warm-up free of decompositions. */
function drawBases({ state }: Updates): void {
  for (const [name, { shape, data }] of state) {
    if (!/\/(left|right)$/.test(name)) continue;
    random(0, name).fillNormal(data as Float32Array);
    const length = Math.sqrt(Math.max(...shape));
    for (let i = 0; i < data.length; i++) data[i] = Number(data[i]) / length;
  }
}

/** Most bytes that arrays of optimizer state take at once, counted over all turns of the run. */
function largestState({ state, settle }: Updates, total: number): number {
  let most = 0;
  for (let step = 1; step <= total; step++) {
    settle(step);
    most = Math.max(
      most,
      [...state.values()].reduce((n, { data }) => n + data.byteLength, 0),
    );
  }
  return most;
}

/** Answers until there are no more lines. */
async function answerLines(): Promise<void> {
  const task: TrainingTask = JSON.parse(process.argv[2]);
  const engine = await createEngine({ threads: 2 });
  const { update, updates } = await trainingSide(engine, task);
  drawBases(updates);
  for await (const line of createInterface({ input: process.stdin }))
    console.log(line === 'state' ? largestState(updates, task.total) : await update(Number(line)));
  await engine.dispose();
}

if (isMainThread) {
  await import('../src/index.ts');
  const worker = new Worker(new URL(import.meta.url), { argv: process.argv.slice(2), stdin: true });
  process.stdin.pipe(worker.stdin!);
} else await answerLines();
