import type { AdaptedLayer, StepInfo } from '../adapters/index.ts';
import type { Ledger } from '../engine/index.ts';
import { RankineError } from '../errors.ts';
import type { NDArray } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import type { UpdateRule } from '../optimizers/index.ts';
import { canonicalWeight, factorName, storeWeight } from './adaptation.ts';
import { type AnyBatch, batchFeeds, targetCount } from './batch-feeds.ts';
import type { Execution } from './execution.ts';
import type { Recipe } from './recipe.ts';
import type { Live, RunProgress } from './run-state.ts';
import type { Schedule } from './schedules.ts';
import type { Feed } from './sources.ts';
import type { Updates } from './updates.ts';

/** What one update did. */
export interface UpdateReport {
  readonly loss: number;
  readonly rate: number;
  /** 2-norm of all gradients before clipping; NaN where they never stood side by side. */
  readonly norm: number;
  readonly tokens: number;
  /** What the weight form reported. */
  readonly extra: Readonly<Record<string, number>>;
}

export interface UpdaterParts {
  recipe: Recipe;
  total: number;
  rates: Schedule;
  execution: Execution;
  updates: Updates;
  live: Live;
  progress: RunProgress;
  feed: Feed;
  held: Ledger;
}

/** Makes the function that does one update: batches, gradients, the form's steps, clipping, the optimizer. */
export function createUpdater(parts: UpdaterParts): () => Promise<UpdateReport> {
  const { recipe, progress, feed, rates, updates } = parts;
  const batches = feed.train(progress.position);
  const ruleOf = new Map(updates.rules.flatMap((r) => r.parameters.map((p) => [p.name, r] as const)));
  const steps = parts.live.adaptation?.steps;
  // A gradient may be spent the moment it is there when nothing has to see all of them first.
  const together =
    recipe.accumulate > 1 || recipe.clip > 0 || Boolean(steps?.afterGradient || steps?.afterStep);

  return async () => {
    const group = await nextGroup(batches, recipe.accumulate);
    const targets = group.reduce((n, b) => n + targetCount(b), 0);
    const scalars = { rate: rates(progress.step), step: progress.step + 1, clip: 1 };
    const held = new Map<string, NDArray>();
    const extra: Record<string, number> = {};
    const info = stepInfo(parts, held, extra);
    await steps?.beforeStep?.(info);
    const spend = async (rule: UpdateRule) => {
      await updates.apply(
        rule,
        rule.parameters.map((p) => held.get(p.name)!),
        scalars,
      );
      if (together) return;
      for (const p of rule.parameters) held.delete(p.name);
    };
    const ready = (rule: UpdateRule) => rule.parameters.every((p) => held.has(p.name));
    let loss = 0;
    for (const batch of group) {
      const shape = feed.shapeOf(batch);
      const feeds = batchFeeds(batch, shape, targets);
      loss += await parts.execution.step(feeds, shape, progress.draws++, async (name, gradient) => {
        hold(held, name, gradient, recipe.accumulate > 1);
        if (together) return;
        checkFinite(name, gradient, progress.step);
        const rule = ruleOf.get(name)!;
        if (ready(rule)) await spend(rule);
      });
      if (!Number.isFinite(loss)) throw notFinite(progress.step, 'the loss');
    }
    let norm = Number.NaN;
    if (together) {
      await steps?.afterGradient?.(info);
      norm = globalNorm(held);
      if (!Number.isFinite(norm)) throw notFinite(progress.step, firstNotFinite(held));
      if (recipe.clip > 0) scalars.clip = Math.min(1, recipe.clip / (norm + 1e-6));
      for (const rule of updates.rules) await spend(rule);
      await steps?.afterStep?.(info);
    }
    progress.step++;
    progress.position = group[group.length - 1].next;
    const tokens = group.reduce((n, b) => n + b.tokens, 0);
    return { loss, rate: scalars.rate, norm, tokens, extra };
  };
}

async function nextGroup(batches: AsyncGenerator<AnyBatch>, count: number): Promise<AnyBatch[]> {
  const group: AnyBatch[] = [];
  while (group.length < count) {
    const next = await batches.next();
    if (next.done) break;
    group.push(next.value);
  }
  return group;
}

function hold(held: Map<string, NDArray>, name: string, gradient: NDArray, copy: boolean): void {
  const before = held.get(name);
  if (!before) {
    held.set(name, copy ? { ...gradient, data: gradient.data.slice() } : gradient);
    return;
  }
  const [into, from] = [before.data as Float32Array, gradient.data as Float32Array];
  for (let i = 0; i < into.length; i++) into[i] += from[i];
}

function squares(a: NDArray): number {
  const data = a.data as Float32Array;
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  const even = data.length & ~3;
  for (let i = 0; i < even; i += 4) {
    s0 += data[i] * data[i];
    s1 += data[i + 1] * data[i + 1];
    s2 += data[i + 2] * data[i + 2];
    s3 += data[i + 3] * data[i + 3];
  }
  for (let i = even; i < data.length; i++) s0 += data[i] * data[i];
  return s0 + s1 + s2 + s3;
}

function globalNorm(held: ReadonlyMap<string, NDArray>): number {
  let total = 0;
  for (const gradient of held.values()) total += squares(gradient);
  return Math.sqrt(total);
}

function firstNotFinite(held: ReadonlyMap<string, NDArray>): string {
  for (const [name, gradient] of held)
    if (!Number.isFinite(squares(gradient))) return `the gradient of ${name}`;
  return 'the norm of the gradients';
}

function checkFinite(name: string, gradient: NDArray, step: number): void {
  if (!Number.isFinite(squares(gradient))) throw notFinite(step, `the gradient of ${name}`);
}

function notFinite(step: number, culprit: string): RankineError {
  return new RankineError(
    'training/not-finite',
    `Update ${step + 1}: ${culprit} is not finite. The last checkpoint is kept.`,
    'Lower the rate, clip the gradients, or look at the data of this update.',
  );
}

function stepInfo(parts: UpdaterParts, held: Map<string, NDArray>, extra: Record<string, number>): StepInfo {
  const { live, progress, updates, recipe, total } = parts;
  const { model } = live;
  return {
    step: progress.step,
    total,
    layers: live.adaptation?.layers ?? [],
    gradient: (layer, name) => held.get(factorName(layer.spec.name, name))!,
    resetOptimizer: (layer, name) => updates.reset(factorName(layer.spec.name, name)),
    addToBase(layer: AdaptedLayer, delta: NDArray) {
      const weight = canonicalWeight(model, layer.spec);
      const data = (weight.data as Float32Array).map((w, i) => w + Number(delta.data[i]));
      storeWeight(model, layer.spec, { ...weight, data });
      const name = `${layer.spec.name}.weight`;
      if (!progress.changedBase.includes(name)) progress.changedBase.push(name);
    },
    report(name, value) {
      extra[name] = value;
    },
    random: (purpose) => random(recipe.seed, `steps/${progress.step}/${purpose}`),
  };
}
