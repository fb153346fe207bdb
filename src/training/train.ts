import { Worker } from 'node:worker_threads';
import { RankineError } from '../errors.ts';
import { parseRecipe, type Recipe, type RecipeInput } from './recipe.ts';
import type { TrainEvent, TrainResult } from './run.ts';
import type { RunFolderMode } from './run-folder.ts';

/** What the worker is given. */
export interface WorkerTask {
  readonly recipe: Recipe;
  readonly mode: RunFolderMode;
  /** One int32: 1 asks the run to save and stop. Shared memory, because updates block the worker's messages. */
  readonly stop: SharedArrayBuffer;
}

export type WorkerReply =
  | { type: 'event'; event: TrainEvent }
  | { type: 'result'; result: TrainResult }
  | { type: 'error'; message: string; stack?: string; known?: { code: string; remedy?: string } };

export interface TrainOptions {
  /** `new` (default) refuses a folder that is not empty; `resume` goes on from its latest checkpoint. */
  readonly mode?: RunFolderMode;
  readonly onEvent?: (event: TrainEvent) => void;
  /** Aborting saves a checkpoint after the update under way, then stops. */
  readonly signal?: AbortSignal;
}

/**
 * Trains as a recipe says, in a worker: this thread stays free.
 *
 * @throws RankineError those of `parseRecipe`, of the model, the data and the run folder; `training/not-finite`
 */
export async function train(input: RecipeInput | Recipe, options: TrainOptions = {}): Promise<TrainResult> {
  const recipe = isResolved(input) ? input : parseRecipe(input);
  const stop = new SharedArrayBuffer(4);
  const ask = () => Atomics.store(new Int32Array(stop), 0, 1);
  if (options.signal?.aborted) ask();
  options.signal?.addEventListener('abort', ask, { once: true });
  const task: WorkerTask = { recipe, mode: options.mode ?? 'new', stop };
  const worker = startWorker(task);
  try {
    return await outcome(worker, options.onEvent);
  } finally {
    options.signal?.removeEventListener('abort', ask);
    await worker.terminate();
  }
}

/** True for what `parseRecipe` gives. */
export function isResolved(input: RecipeInput | Recipe): input is Recipe {
  return typeof input.adapter === 'object' && 'options' in input.adapter;
}

function startWorker(task: WorkerTask): Worker {
  if (!import.meta.url.endsWith('.ts'))
    return new Worker(new URL('./worker.js', import.meta.url), { workerData: task });
  // Run from source (tests): Node 20 does not let a loader see a worker's first file.
  const file = JSON.stringify(new URL('./worker.ts', import.meta.url).href);
  const start = `import('tsx/esm/api').then(({ register }) => { register(); return import(${file}); })`;
  return new Worker(start, { eval: true, workerData: task });
}

function outcome(worker: Worker, onEvent?: (event: TrainEvent) => void): Promise<TrainResult> {
  return new Promise((resolve, reject) => {
    worker.on('message', (message: WorkerReply) => {
      if (message.type === 'event') onEvent?.(message.event);
      else if (message.type === 'result') resolve(message.result);
      else reject(revive(message));
    });
    worker.on('error', reject);
    worker.on('exit', (code) => reject(new Error(`internal: the training worker ended with code ${code}`)));
  });
}

/** The error as it was thrown in the worker. */
function revive({ message, stack, known }: Extract<WorkerReply, { type: 'error' }>): Error {
  if (known) {
    const fact =
      known.remedy && message.endsWith(known.remedy) ? message.slice(0, -known.remedy.length - 1) : message;
    return new RankineError(known.code, fact, known.remedy);
  }
  const error = new Error(message);
  error.stack = stack;
  return error;
}
