import { parentPort, workerData } from 'node:worker_threads';
import { RankineError } from '../errors.ts';
import { runRecipe } from './run.ts';
import type { WorkerReply, WorkerTask } from './train.ts';

const task = workerData as WorkerTask;
const stop = new Int32Array(task.stop);
const reply = (message: WorkerReply) => parentPort!.postMessage(message);

try {
  const result = await runRecipe(task.recipe, task.mode, {
    emit: (event) => reply({ type: 'event', event }),
    stopped: () => Atomics.load(stop, 0) === 1,
  });
  reply({ type: 'result', result });
} catch (error) {
  const known = error instanceof RankineError ? { code: error.code, remedy: error.remedy } : undefined;
  const { message, stack } = error as Error;
  reply({ type: 'error', message, stack, known });
}
