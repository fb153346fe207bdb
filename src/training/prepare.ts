import { type AdapterOptions, forms } from '../adapters/index.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import type { Model } from '../models/index.ts';
import { optimizers } from '../optimizers/index.ts';
import { type Adaptation, adapt, discardedWeights } from './adaptation.ts';
import { openModel } from './base-model.ts';
import type { Setup } from './execution.ts';
import { frozenAtRandom } from './frozen-at-random.ts';
import { FULL, type Recipe, trainedModules } from './recipe.ts';
import { byName } from './recipe-errors.ts';
import type { Live } from './run-state.ts';
import { type Schedule, schedule } from './schedules.ts';
import { type Feed, openFeed } from './sources.ts';
import { estimateStatistics } from './statistics.ts';
import { trainables } from './trainables.ts';
import { createUpdates, type Updates } from './updates.ts';

/** Everything that a run is made of, as it stands before the first update. */
export interface Prepared {
  readonly engine: Engine;
  readonly model: Model;
  readonly feed: Feed;
  readonly setup: Setup;
  readonly updates: Updates;
  readonly live: Live;
  /** Updates of the whole run. */
  readonly total: number;
  readonly rates: Schedule;
}

/**
 * Opens a recipe's model and data and makes the run's arrays.
 * @param notice is told what the user should know of the model and the data
 */
export async function prepare(recipe: Recipe, notice: (text: string) => void): Promise<Prepared> {
  const engine = await createEngine({ device: recipe.device, threads: recipe.threads });
  const model = await openModel(recipe.model, recipe.seed);
  for (const text of model.notices) notice(text);
  for (const [name, array] of model.weights) engine.ledger.hold('weights', name, array.data.byteLength);
  const feed = await openFeed(recipe, model);
  for (const text of dataNotices(feed)) notice(text);
  const total = await totalSteps(recipe, feed);
  const rates = schedule({ ...recipe.schedule, peak: recipe.rate, total });
  const adaptation = await adaptAtStart(engine, model, recipe, async () => feed);
  holdFactors(engine, adaptation);
  for (const name of discardedWeights(adaptation)) engine.ledger.free(name);
  const list = trainables(model, adaptation, trainedModules(recipe));
  for (const text of frozenAtRandom(recipe, model, adaptation, list)) notice(text);
  const setup: Setup = { engine, model, adaptation, trainables: list, seed: recipe.seed };
  const method = byName(optimizers, recipe.optimizer.method, 'optimizer', []);
  const infos = list.map((t) => t.info);
  const updates = createUpdates(engine, method, recipe.optimizer.options, list, recipe.seed);
  for (const text of method.notices?.(infos, recipe.optimizer.options) ?? []) notice(text);
  const live: Live = { trainables: list, updates, adaptation, model };
  return { engine, model, feed, setup, updates, live, total, rates };
}

/**
 * The weight form of a recipe on its model, as the run starts with it; undefined where every weight is trained.
 * @param openData is asked for the data only where the form wants something measured on them
 */
export async function adaptAtStart(
  engine: Engine,
  model: Model,
  recipe: Recipe,
  openData: () => Promise<Feed>,
): Promise<Adaptation | undefined> {
  if (recipe.adapter.method === FULL) return undefined;
  const form = byName(forms, recipe.adapter.method, 'adapter', [FULL]);
  const options = recipe.adapter.options as AdapterOptions;
  const needs = form.needs?.(options);
  if (!needs?.gradient) return adapt(model, form, options, { seed: recipe.seed, firstRate: recipe.rate });
  const feed = await openData();
  const rates = schedule({ ...recipe.schedule, peak: recipe.rate, total: await totalSteps(recipe, feed) });
  const { batches } = needs.gradient;
  const statistics = await estimateStatistics({ engine, model, form, options, feed, recipe }, batches);
  return adapt(model, form, options, { seed: recipe.seed, firstRate: firstRate(rates), statistics });
}

/** η of the first update that moves: warm-ups begin at 0. */
function firstRate(rates: Schedule): number {
  return rates(0) || rates(1);
}

function holdFactors({ ledger }: Engine, adaptation: Adaptation | undefined): void {
  for (const { spec, trainable, frozen } of adaptation?.layers ?? [])
    for (const [name, array] of Object.entries({ ...frozen, ...trainable }))
      ledger.hold('adapter', `${spec.name}#${name}`, array.data.byteLength);
}

function dataNotices({ report }: Feed): string[] {
  const notices: string[] = [];
  if (report.truncated > 0)
    notices.push(
      `${report.truncated} examples were cut to the maximal length; ${report.tokensDropped} tokens were dropped.`,
    );
  if (report.dropped > 0) notices.push(`${report.dropped} examples were too long and left out.`);
  if (report.withoutTarget > 0)
    notices.push(`${report.withoutTarget} examples had nothing to learn and were left out.`);
  return notices;
}

async function totalSteps(recipe: Recipe, feed: Feed): Promise<number> {
  if (recipe.steps !== undefined) return recipe.steps;
  return Math.max(1, Math.ceil((recipe.epochs ?? 1) * (await feed.updatesPerEpoch())));
}
