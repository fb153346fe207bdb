import type { FormSteps } from '../adapters/index.ts';
import type { NDArray } from '../graph/index.ts';
import { type ParameterInfo, restsAt, type UpdateRule } from '../optimizers/index.ts';
import type { Adaptation } from './adaptation.ts';
import { type AnyBatch, batchFeeds, targetCount, tokenCount } from './batch-feeds.ts';
import type { Execution, Observe, Setup } from './execution.ts';
import { addGradient, clipFactor, globalNorm, squares } from './gradient-norm.ts';
import { firstGradientNotFinite, firstNotFinite, notFinite } from './not-finite.ts';
import type { Recipe } from './recipe.ts';
import type { Live, RunProgress } from './run-state.ts';
import type { Schedule } from './schedules.ts';
import type { Feed } from './sources.ts';
import { stepInfo } from './step-info.ts';
import { restingTrainables } from './trainables.ts';
import { programKey, type Updates } from './updates.ts';

/** What one update did. */
export interface UpdateReport {
  readonly loss: number;
  readonly rate: number;
  /** 2-norm of the gradients of all that moves, before clipping; NaN where they never stood side by side. */
  readonly norm: number;
  readonly tokens: number;
  /** What the weight form and the optimizer reported. */
  readonly extra: Readonly<Record<string, number>>;
}

export interface UpdaterParts {
  recipe: Pick<Recipe, 'accumulate' | 'clip' | 'seed'>;
  /** Updates of the whole run. */
  total: number;
  rates: Schedule;
  setup: Setup;
  execution: Execution;
  updates: Updates;
  live: Live;
  progress: RunProgress;
  feed: Pick<Feed, 'train' | 'shapeOf'>;
}

/**
 * Makes the function that does one update: batches, gradients, the form's steps, clipping, the optimizer.
 *
 * @throws RankineError `training/not-finite` from that function, naming the update and the first culprit
 */
export function createUpdater(parts: UpdaterParts): () => Promise<UpdateReport> {
  const { recipe, progress, feed, rates, updates } = parts;
  const batches = feed.train(progress.position);
  const steps = parts.live.adaptation?.steps;
  const together = spendsTogether(recipe, steps);
  const ordered = alikeInARow(updates.rules);
  const formRests = restingRules(parts.live.adaptation);
  const restingIn = restingTrainables(parts.live.trainables, updates.rules);

  return async () => {
    const group = await nextGroup(batches, recipe.accumulate);
    const rateOf = (factor: boolean) =>
      steps?.rate?.({ step: progress.step, total: parts.total, scheduled: rates, factor }) ??
      rates(progress.step);
    const rate = rateOf(true);
    const scalars = { step: progress.step + 1, clip: 1 };
    const resting = restingIn(scalars.step);
    const held = heldGradients(parts, recipe.accumulate > 1);
    const extra: Record<string, number> = {};
    const place = { done: progress.step };
    const seen = observations(steps?.observes?.(progress.step) ?? false);
    const info = stepInfo(parts, held.gradients, seen.sums, extra, place);
    const spend = async (rule: UpdateRule) => {
      const gradients = updates.gradientsOf(rule, held.gradients);
      const resets = rule.parameters.map((p) => progress.resets[p.name] ?? 0);
      const own = scalars.step - Math.max(...resets);
      const factor = rule.parameters.some((p) => p.role === 'factor');
      await updates.apply(rule, gradients, { ...scalars, rate: rateOf(factor), own, report: info.report });
    };
    await steps?.beforeStep?.(info);
    // Gradients that stay are checked by their norm, those that are spent at once one by one.
    const loss = together
      ? await runBatches(parts, group, {
          take: held.add,
          sound: () => true,
          observe: seen.observe,
          resting: readsGradients(steps) ? undefined : resting,
        })
      : await runBatches(parts, group, { take: spendAtOnce(parts, held, spend), sound: isSound, resting });
    let norm = Number.NaN;
    if (together) {
      await steps?.afterGradient?.(info);
      norm = globalNorm(ofMoving(held.gradients, resting));
      if (!Number.isFinite(norm)) throw notFinite(progress.step, firstGradientNotFinite(held.gradients));
      scalars.clip = clipFactor(norm, recipe.clip);
      for (const rule of ordered) if (!formRests(rule) && !restsAt(rule, scalars.step)) await spend(rule);
      place.done++;
      await steps?.afterStep?.(info);
      for (const name of [...held.gradients.keys()]) held.drop(name);
    }
    progress.step++;
    progress.position = group[group.length - 1].next;
    return { loss, rate, norm, tokens: group.reduce((n, b) => n + tokenCount(b, feed.shapeOf(b)), 0), extra };
  };
}

/**
 * Rules that share a program one after the other. Its session's threads sleep between runs, and a thread that wakes takes
 * milliseconds to find a core of its own, unless it had one just now: GaLore's updates of GPT-2 took half as long again.
 */
function alikeInARow(rules: readonly UpdateRule[]): UpdateRule[] {
  const keys = rules.map(programKey);
  const place = (i: number) => keys.indexOf(keys[i]);
  const order = [...rules.keys()].sort((i, j) => place(i) - place(j));
  return order.map((i) => rules[i]);
}

/** A gradient is spent the moment it is there, unless something has to see all of them first. */
export function spendsTogether(
  { accumulate, clip }: Pick<Recipe, 'accumulate' | 'clip'>,
  steps: FormSteps | undefined,
): boolean {
  return accumulate > 1 || clip > 0 || readsGradients(steps);
}

/** True for forms whose steps may read any gradient: they are computed of what rests, too. */
export function readsGradients(steps: FormSteps | undefined): boolean {
  return Boolean(steps?.afterGradient || steps?.afterStep);
}

/** Gradients of what moves: a norm with those of resting tensors would depend on whether somebody reads them. */
function ofMoving(gradients: ReadonlyMap<string, NDArray>, resting: ReadonlySet<string>): NDArray[] {
  return [...gradients].filter(([name]) => !resting.has(name)).map(([, gradient]) => gradient);
}

/** True where no gradient is read after it was handed over: it was spent, or added to a sum. */
export function leavesGradients(
  recipe: Pick<Recipe, 'accumulate' | 'clip'>,
  steps: FormSteps | undefined,
): boolean {
  return recipe.accumulate > 1 || !spendsTogether(recipe, steps);
}

/** Tells rules of which every tensor rests. */
function restingRules(adaptation: Adaptation | undefined): (rule: UpdateRule) => boolean {
  const rests = adaptation?.steps?.rests;
  if (!rests) return () => false;
  const layers = new Map(adaptation.layers.map((layer) => [layer.spec.name, layer]));
  const resting = ({ layer, factor, part }: ParameterInfo) =>
    factor !== undefined && rests(layers.get(layer!.name)!, factor, part);
  return (rule) => rule.parameters.every(resting);
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

type Take = (name: string, gradient: NDArray) => void | Promise<void>;

function isSound(gradient: NDArray): boolean {
  return Number.isFinite(squares(gradient));
}

/** What the form observed in an update's batches, summed by name. */
function observations(observing: boolean): { sums: ReadonlyMap<string, NDArray>; observe?: Observe } {
  const sums = new Map<string, NDArray>();
  if (!observing) return { sums };
  return {
    sums,
    observe(name, array) {
      const before = sums.get(name);
      if (before) addGradient(before, array);
      else sums.set(name, array);
    },
  };
}

/** Who gets what an update's batches give. */
interface Takers {
  readonly take: Take;
  /** Gradients from the first unsound one on are not taken. */
  readonly sound: (gradient: NDArray) => boolean;
  readonly observe?: Observe;
  readonly resting?: ReadonlySet<string>;
}

/** Forward and backward of an update's batches; their weighted losses add up to the mean over all targets. */
async function runBatches(
  parts: UpdaterParts,
  group: readonly AnyBatch[],
  { take, sound, ...wanted }: Takers,
): Promise<number> {
  const { feed, progress, execution } = parts;
  const targets = group.reduce((n, b) => n + targetCount(b), 0);
  let total = 0;
  for (const batch of group) {
    const shape = feed.shapeOf(batch);
    const feeds = batchFeeds(batch, shape, targets, 1 / group.length);
    const draw = progress.draws++;
    let unsound: string | undefined;
    const consume = async (name: string, array: NDArray) => {
      unsound ??= sound(array) ? undefined : name;
      if (unsound === undefined) await take(name, array);
    };
    const loss = await execution.step(feeds, shape, draw, { ...wanted, consume });
    total += loss;
    if (!Number.isFinite(loss))
      throw notFinite(progress.step, await firstNotFinite(parts.setup, { feeds, shape, draw }));
    if (unsound !== undefined) throw notFinite(progress.step, `the gradient of ${unsound}`);
  }
  return total;
}

/** Gradients that an update keeps until they are spent. */
interface Held {
  readonly gradients: ReadonlyMap<string, NDArray>;
  add(name: string, gradient: NDArray): void;
  drop(name: string): void;
}

/** @param sums several batches add up in copies of their own; else the execution's arrays are kept as they are */
function heldGradients({ execution, setup }: UpdaterParts, sums: boolean): Held {
  const gradients = new Map<string, NDArray>();
  const { ledger } = setup.engine;
  const copyName = (name: string) => `sum:${name}`;
  return {
    gradients,
    add(name, gradient) {
      if (!sums) {
        gradients.set(name, gradient);
        return;
      }
      const before = gradients.get(name);
      if (before) addGradient(before, gradient);
      else {
        gradients.set(name, { ...gradient, data: gradient.data.slice() });
        ledger.hold('gradients', copyName(name), gradient.data.byteLength);
      }
      execution.release(name);
    },
    drop(name) {
      gradients.delete(name);
      if (sums) ledger.free(copyName(name));
      else execution.release(name);
    },
  };
}

/** Moves a rule's parameters as soon as all their gradients are there, and forgets these. */
function spendAtOnce(
  { updates }: UpdaterParts,
  held: Held,
  spend: (rule: UpdateRule) => Promise<void>,
): Take {
  const ruleOf = new Map(updates.rules.flatMap((r) => r.parameters.map((p) => [p.name, r] as const)));
  return async (name, gradient) => {
    const rule = ruleOf.get(name)!;
    // What waits for the rule's other gradients must not be overwritten meanwhile.
    const waits = rule.parameters.length > 1;
    held.add(name, waits ? { ...gradient, data: gradient.data.slice() } : gradient);
    if (!rule.parameters.every((p) => held.gradients.has(p.name))) return;
    await spend(rule);
    for (const p of rule.parameters) held.drop(p.name);
  };
}
