import { join } from 'node:path';
import { type AdapterOptions, forms } from '../adapters/index.ts';
import { createEngine } from '../engine/index.ts';
import { resolveModel } from '../formats/index.ts';
import { readJsonObject } from '../formats/json-file.ts';
import { createModel, loadModel, type Model } from '../models/index.ts';
import { optimizers } from '../optimizers/index.ts';
import { adapt } from './adaptation.ts';
import { writeAdapter, writeMerged } from './artifacts.ts';
import { blockwiseExecution } from './blockwise.ts';
import { type CheckpointStore, openCheckpoints } from './checkpoints.ts';
import { judge } from './early-stop.ts';
import { createEvaluator, type Evaluation } from './evaluation.ts';
import { type Setup, wholeExecution } from './execution.ts';
import { residentMemory } from './memory.ts';
import { openMetrics, truncateMetrics } from './metrics.ts';
import { progressMeter } from './progress.ts';
import { byName, FULL, type Recipe } from './recipe.ts';
import { openRunFolder, type RunFolder, type RunFolderMode, writeRecipe } from './run-folder.ts';
import { freshProgress, type Live, type RunProgress, restoreRun, saveRun } from './run-state.ts';
import { schedule } from './schedules.ts';
import { type Feed, openFeed } from './sources.ts';
import { estimateStatistics } from './statistics.ts';
import { openTensorboard } from './tensorboard.ts';
import { countTrainable, trainables } from './trainables.ts';
import { createUpdater, type UpdateReport } from './update.ts';
import { createUpdates } from './updates.ts';
import { writeVersions } from './versions.ts';

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
  | { type: 'stopped'; step: number; reason: 'interrupted' | 'patience' };

export interface TrainResult {
  readonly steps: number;
  readonly total: number;
  readonly loss: number;
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

/** Runs a recipe in this thread, from the start or from its latest checkpoint. */
export async function runRecipe(recipe: Recipe, mode: RunFolderMode, host: RunHost): Promise<TrainResult> {
  const folder = await openRunFolder(recipe.output, mode);
  try {
    return await runIn(folder, recipe, mode === 'resume', host);
  } finally {
    await folder.release();
  }
}

/** The base model of a recipe. */
export async function openModel(spec: Recipe['model'], seed: number): Promise<Model> {
  const folder = await resolveModel(spec.path);
  if (spec.init === 'random') {
    const config = await readJsonObject(join(folder, 'config.json'));
    return { ...createModel(config as Model['config'], spec.task, seed), folder };
  }
  return loadModel(folder, { task: spec.task, labels: spec.labels, seed });
}

async function prepare(recipe: Recipe, host: RunHost) {
  const engine = await createEngine({ device: recipe.device, threads: recipe.threads });
  const model = await openModel(recipe.model, recipe.seed);
  for (const text of model.notices) host.emit({ type: 'notice', text });
  for (const [name, array] of model.weights) engine.ledger.hold('weights', name, array.data.byteLength);
  const feed = await openFeed(recipe, model);
  reportData(feed, host);
  const form =
    recipe.adapter.method === FULL ? undefined : byName(forms, recipe.adapter.method, 'adapter', [FULL]);
  const options = recipe.adapter.options as AdapterOptions;
  const statistics = form && (await estimateStatistics(engine, model, form, options, feed, recipe));
  const adaptation = form && (await adapt(model, form, options, recipe.seed, statistics));
  const list = trainables(model, adaptation);
  const setup: Setup = { engine, model, adaptation, trainables: list, seed: recipe.seed };
  const method = byName(optimizers, recipe.optimizer.method, 'optimizer', []);
  const updates = createUpdates(engine, method, recipe.optimizer.options, list, recipe.seed);
  return { engine, model, feed, adaptation, list, setup, updates };
}

function reportData({ report }: Feed, host: RunHost): void {
  if (report.truncated > 0)
    host.emit({
      type: 'notice',
      text: `${report.truncated} examples were cut to the maximal length; ${report.tokensDropped} tokens were dropped.`,
    });
  if (report.dropped > 0)
    host.emit({ type: 'notice', text: `${report.dropped} examples were too long and left out.` });
  if (report.withoutTarget > 0)
    host.emit({
      type: 'notice',
      text: `${report.withoutTarget} examples had nothing to learn and were left out.`,
    });
}

async function totalSteps(recipe: Recipe, feed: Feed): Promise<number> {
  if (recipe.steps !== undefined) return recipe.steps;
  return Math.max(1, Math.ceil((recipe.epochs ?? 1) * (await feed.updatesPerEpoch())));
}

async function runIn(
  folder: RunFolder,
  recipe: Recipe,
  resume: boolean,
  host: RunHost,
): Promise<TrainResult> {
  const started = performance.now();
  const parts = await prepare(recipe, host);
  const { engine, model, feed, list, setup, updates } = parts;
  const total = await totalSteps(recipe, feed);
  await writeRecipe(folder.paths, recipe);
  await writeVersions(folder.paths.versions);
  const store = await openCheckpoints(folder.paths.checkpoints, {
    keepLast: recipe.keep,
    onWarning: (error) => host.emit({ type: 'notice', text: error.message }),
  });
  const live: Live = { trainables: list, updates, adaptation: parts.adaptation, model };
  const progress = resume ? await restoreRun(store, live) : freshProgress();
  if (resume) await truncateMetrics(folder.paths.metrics, progress.step);
  const metrics = openMetrics(folder.paths.metrics);
  const board = openTensorboard(folder.paths.tensorboard, { from: progress.step + 1 });
  host.emit({
    type: 'start',
    total,
    from: progress.step,
    trainable: countTrainable(list),
    parameters: [...model.weights.values()].reduce((n, a) => n + a.data.length, 0),
    layers: parts.adaptation?.layers.length ?? 0,
  });
  const evaluate = createEvaluator(setup, feed.shapeOf);
  const execution = recipe.execution === 'blockwise' ? blockwiseExecution(setup) : wholeExecution(setup);
  const rates = schedule({ ...recipe.schedule, peak: recipe.rate, total });
  const update = createUpdater({
    recipe,
    total,
    rates,
    execution,
    updates,
    live,
    progress,
    feed,
    held: engine.ledger,
  });
  const meter = progressMeter({ total, from: progress.step });

  const log = (step: number, values: Record<string, number>) => {
    metrics.log(step, values);
    board.log(step, values);
  };
  const afterStep = (report: UpdateReport) => {
    const pace = meter.advance(progress.step, report.tokens);
    log(progress.step, {
      'train/loss': report.loss,
      'train/rate': report.rate,
      'train/norm': report.norm,
      ...report.extra,
    });
    const memory = residentMemory();
    metrics.logMeasured(progress.step, {
      'pace/tokens_per_second': pace.tokensPerSecond ?? 0,
      'memory/peak': memory.peak,
    });
    host.emit({
      type: 'step',
      step: progress.step,
      loss: report.loss,
      rate: report.rate,
      norm: report.norm,
      tokensPerSecond: pace.tokensPerSecond,
      secondsLeft: pace.secondsLeft,
      memory: memory.now,
    });
  };

  const evaluateEvery = recipe.evaluateEvery ?? Math.max(1, Math.ceil(total / 10));
  const saveEvery = recipe.saveEvery ?? evaluateEvery;
  let last: UpdateReport | undefined;
  let reason: 'interrupted' | 'patience' | undefined;
  try {
    while (progress.step < total && !reason) {
      last = await update();
      afterStep(last);
      const end = progress.step === total;
      let best = false;
      if (feed.validation && (end || progress.step % evaluateEvery === 0)) {
        const verdict = await evaluateNow(progress, recipe, evaluate(feed.validation()), log, host);
        best = verdict.isBest;
        if (verdict.stop) reason = 'patience';
        meter.pause();
      }
      if (host.stopped()) reason = 'interrupted';
      if (end || reason || best || progress.step % saveEvery === 0) {
        metrics.sync();
        await saveRun(store, live, progress, best);
        host.emit({ type: 'checkpoint', step: progress.step });
        meter.pause();
      }
    }
    if (reason) host.emit({ type: 'stopped', step: progress.step, reason });
    const finished = reason !== 'interrupted';
    const artifact = finished ? await finish(folder, recipe, store, live, engine) : undefined;
    return {
      steps: progress.step,
      total,
      loss: last?.loss ?? Number.NaN,
      evaluation: progress.evaluation,
      trainable: countTrainable(list),
      artifact,
      finished,
      peakMemory: residentMemory().peak,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    metrics.close();
    board.close();
    await engine.dispose();
  }
}

async function evaluateNow(
  progress: RunProgress,
  recipe: Recipe,
  pending: Promise<Evaluation>,
  log: (step: number, values: Record<string, number>) => void,
  host: RunHost,
) {
  const evaluation = await pending;
  const { accuracy } = evaluation;
  log(progress.step, {
    'eval/loss': evaluation.loss,
    'eval/perplexity': Math.exp(evaluation.loss),
    ...(accuracy === undefined ? {} : { 'eval/accuracy': accuracy }),
  });
  const direction = accuracy === undefined ? 'min' : 'max';
  const verdict = judge(progress.stopping, accuracy ?? evaluation.loss, progress.step, {
    direction,
    patience: recipe.patience,
  });
  progress.stopping = verdict.state;
  progress.evaluation = evaluation;
  host.emit({ type: 'evaluation', step: progress.step, best: verdict.isBest, ...evaluation });
  return verdict;
}

/** The best checkpoint (the last one without validation) becomes the result. */
async function finish(
  folder: RunFolder,
  recipe: Recipe,
  store: CheckpointStore,
  live: Live,
  engine: Setup['engine'],
): Promise<string> {
  await restoreRun(store, live, 'best');
  const { model, adaptation } = live;
  if (adaptation?.form.toPeft) {
    await writeAdapter(folder.paths.adapter, model, adaptation, live.trainables, recipe.model.path);
    return folder.paths.adapter;
  }
  const merged = join(folder.path, 'model');
  await writeMerged(merged, engine, model, adaptation, { replace: true });
  return merged;
}
