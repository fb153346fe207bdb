/** What runs in a run's own process: training, or scoring. Started by `runProcess`. */
import { RankineError } from '../errors.ts';
import { exists } from '../formats/index.ts';
import { type Recipe, residentMemory, runPaths, runRecipe, type TrainResult } from '../training/index.ts';
import { type Scored, type ScoreTask, scoreBase, scoreRun } from './score.ts';

export type ChildTask =
  | { readonly kind: 'train'; readonly recipe: Recipe }
  | { readonly kind: 'score'; readonly recipe: Recipe; readonly task: ScoreTask }
  | { readonly kind: 'score-base'; readonly recipe: Recipe; readonly task: ScoreTask };

export type ChildMessage =
  | { type: 'event'; event: unknown }
  | { type: 'done'; value: TrainResult | Scored; own: { peakMemory: number; processor: number } }
  | { type: 'error'; code: string; message: string };

let stopped = false;

async function run(task: ChildTask): Promise<TrainResult | Scored> {
  if (task.kind === 'score') return scoreRun(task.recipe, task.task);
  if (task.kind === 'score-base') return scoreBase(task.recipe, task.task);
  return (await exists(runPaths(task.recipe.output).recipe)) ? goOn(task.recipe) : begin(task.recipe);
}

const host = {
  emit: (event: unknown) => send({ type: 'event', event }),
  stopped: () => stopped,
};

function begin(recipe: Recipe): Promise<TrainResult> {
  return runRecipe(recipe, 'overwrite', host);
}

/** A run that died before its first checkpoint has nothing to go on from: it begins anew. */
async function goOn(recipe: Recipe): Promise<TrainResult> {
  try {
    return await runRecipe(recipe, 'resume', host);
  } catch (error) {
    if (error instanceof RankineError && error.code === 'training/nothing-to-resume') return begin(recipe);
    throw error;
  }
}

/** Where the study is gone, nobody is told: without a callback the closed channel would end the run before it saved. */
function send(message: ChildMessage): void {
  if (process.connected) process.send?.(message, () => {});
}

function hangUp(): void {
  if (process.connected) process.disconnect();
}

async function main(task: ChildTask): Promise<void> {
  try {
    const value = await run(task);
    const { user, system } = process.cpuUsage();
    send({
      type: 'done',
      value,
      own: { peakMemory: residentMemory().peak, processor: (user + system) / 1e6 },
    });
  } catch (error) {
    const known = error instanceof RankineError;
    send({
      type: 'error',
      code: known ? error.code : 'studies/crashed',
      message: known ? error.message : ((error as Error).stack ?? String(error)),
    });
    hangUp();
  }
}

process.on('message', (message: ChildTask | 'stop' | 'read') => {
  if (message === 'stop') stopped = true;
  else if (message === 'read') hangUp();
  else void main(message);
});
// The study is gone: go on to the next checkpoint, no further.
process.on('disconnect', () => {
  stopped = true;
});
// The study asks; a signal to the whole group would end a run in the middle of an update.
process.on('SIGINT', () => {});
