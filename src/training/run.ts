import { sizeOf } from '../graph/index.ts';
import { blockwiseExecution } from './blockwise.ts';
import { type CheckpointStore, openCheckpoints } from './checkpoints.ts';
import { withClassesOfImages } from './classes.ts';
import { judge } from './early-stop.ts';
import { chooseExecution } from './estimate.ts';
import { createEvaluator, type Evaluation } from './evaluation.ts';
import { finish } from './finish.ts';
import { residentMemory } from './memory.ts';
import { type Prepared, prepare } from './prepare.ts';
import { progressMeter } from './progress.ts';
import type { Recipe } from './recipe.ts';
import { resumedRecipe } from './resume.ts';
import { openRunFolder, type RunFolder, type RunFolderMode, readRecipe, writeRecipe } from './run-folder.ts';
import { type Logs, openLogs, reportStep } from './run-logs.ts';
import { freshProgress, type RunProgress, restoreRun, saveRun } from './run-state.ts';
import { countTrainable } from './trainables.ts';
import { createUpdater, leavesGradients, type UpdateReport } from './update.ts';
import { writeVersions } from './versions.ts';
import { wholeExecution } from './whole.ts';

/** What a run tells while it goes on. Plain data: it crosses from the worker to the main thread. */
export type TrainEvent =
  | { type: 'notice'; text: string }
  | { type: 'start'; total: number; from: number; trainable: number; parameters: number; layers: number }
  | {
      type: 'step';
      step: number;
      loss: number;
      rate: number;
      norm: number;
      tokensPerSecond?: number;
      secondsLeft?: number;
      memory: number;
    }
  | ({ type: 'evaluation'; step: number; best: boolean } & Evaluation)
  | { type: 'checkpoint'; step: number }
  | { type: 'stopped'; step: number; reason: StopReason };

export type StopReason = 'interrupted' | 'patience';

export interface TrainResult {
  readonly steps: number;
  readonly total: number;
  /** Loss of the last update that was done now; NaN where there was none left to do. */
  readonly loss: number;
  /** Of the artifact: the best evaluation; of a run that was interrupted, the last one. */
  readonly evaluation?: Evaluation;
  readonly trainable: number;
  /** Folder of the adapter, or of the whole model where every weight was trained. */
  readonly artifact?: string;
  readonly finished: boolean;
  readonly peakMemory: number;
  readonly seconds: number;
}

export interface RunHost {
  emit(event: TrainEvent): void;
  /** True once the run is asked to save and stop. */
  stopped(): boolean;
}

/**
 * Runs a recipe in this thread, from the start or from its latest checkpoint.
 *
 * @throws RankineError `training/other-recipe` where a run is resumed with another recipe; `training/not-finite`; those of
 *   the model, the data and the run folder
 */
export async function runRecipe(given: Recipe, mode: RunFolderMode, host: RunHost): Promise<TrainResult> {
  const recipe = await withClassesOfImages(given);
  const folder = await openRunFolder(recipe.output, mode);
  try {
    const resume = mode === 'resume';
    const asked = resume ? resumedRecipe(await readRecipe(folder.paths), recipe) : recipe;
    return await runIn(folder, asked, resume, host);
  } finally {
    await folder.release();
  }
}

async function runIn(folder: RunFolder, asked: Recipe, resume: boolean, host: RunHost): Promise<TrainResult> {
  const started = performance.now();
  const notice = (text: string) => host.emit({ type: 'notice', text });
  const parts = await prepare(asked, notice);
  const recipe: Recipe = { ...asked, execution: chooseExecution(asked, parts, notice) };
  const { live, total } = parts;
  try {
    await writeRecipe(folder.paths, recipe);
    await writeVersions(folder.paths.versions);
    const store = await openCheckpoints(folder.paths.checkpoints, {
      keepLast: recipe.keep,
      onWarning: (error) => notice(error.message),
    });
    const progress = resume ? await restoreRun(store, live) : freshProgress();
    const { last, reason } = await loop({ folder, recipe, parts, store, progress, host });
    const finished = reason !== 'interrupted';
    const result = finished ? await finish(folder, recipe, store, parts, progress) : progress;
    return {
      steps: progress.step,
      total,
      loss: last?.loss ?? Number.NaN,
      evaluation: result.evaluation,
      trainable: countTrainable(live.trainables),
      artifact: 'artifact' in result ? result.artifact : undefined,
      finished,
      peakMemory: residentMemory().peak,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await parts.engine.dispose();
  }
}

interface LoopParts {
  folder: RunFolder;
  recipe: Recipe;
  parts: Prepared;
  store: CheckpointStore;
  progress: RunProgress;
  host: RunHost;
}

interface LoopEnd {
  readonly last?: UpdateReport;
  readonly reason?: StopReason;
}

/** Updates, evaluations and checkpoints until the run is done, stopped or out of patience. */
async function loop({ folder, recipe, parts, store, progress, host }: LoopParts): Promise<LoopEnd> {
  const { setup, live, feed, total } = parts;
  const logs = await openLogs(folder, progress.step);
  host.emit({
    type: 'start',
    total,
    from: progress.step,
    trainable: countTrainable(live.trainables),
    parameters: [...parts.model.weights.values()].reduce((n, a) => n + sizeOf(a.shape), 0),
    layers: live.adaptation?.layers.length ?? 0,
  });
  const execution =
    recipe.execution === 'blockwise'
      ? blockwiseExecution(setup, { shareGradients: leavesGradients(recipe, live.adaptation?.steps) })
      : wholeExecution(setup);
  const update = createUpdater({ ...parts, recipe, execution, progress });
  const evaluate = createEvaluator(setup, feed.shapeOf);
  const meter = progressMeter({ total, from: progress.step });
  const evaluateEvery = recipe.evaluateEvery ?? Math.max(1, Math.ceil(total / 10));
  const saveEvery = recipe.saveEvery ?? evaluateEvery;
  const patient = progress.stopping.waited < (recipe.patience ?? Number.POSITIVE_INFINITY);
  let reason: StopReason | undefined = patient ? undefined : 'patience';
  let last: UpdateReport | undefined;
  try {
    while (progress.step < total && !reason) {
      last = await update();
      reportStep(progress.step, last, meter.advance(progress.step, last.tokens), logs, host);
      const end = progress.step === total;
      let best = false;
      if (feed.validation && (end || progress.step % evaluateEvery === 0)) {
        const verdict = judgeNow(progress, recipe, await evaluate(feed.validation()), logs, host);
        best = verdict.isBest;
        if (verdict.stop && !end) reason = 'patience';
        meter.pause();
      }
      if (!end && !reason && host.stopped()) reason = 'interrupted';
      if (end || reason || best || progress.step % saveEvery === 0) {
        logs.sync();
        await saveRun(store, live, progress, best);
        host.emit({ type: 'checkpoint', step: progress.step });
        meter.pause();
      }
    }
    if (reason) host.emit({ type: 'stopped', step: progress.step, reason });
    return { last, reason };
  } finally {
    logs.close();
  }
}

/** Accuracy judges where there are classes, else the loss. */
function judgeNow(
  progress: RunProgress,
  { patience }: Recipe,
  evaluation: Evaluation,
  logs: Logs,
  host: RunHost,
) {
  const { accuracy, loss } = evaluation;
  logs.log(progress.step, {
    'eval/loss': loss,
    'eval/perplexity': Math.exp(loss),
    ...(accuracy === undefined ? {} : { 'eval/accuracy': accuracy }),
  });
  const direction = accuracy === undefined ? 'min' : 'max';
  const verdict = judge(progress.stopping, accuracy ?? loss, progress.step, { direction, patience });
  progress.stopping = verdict.state;
  progress.evaluation = evaluation;
  host.emit({ type: 'evaluation', step: progress.step, best: verdict.isBest, ...evaluation });
  return verdict;
}
