import type { AdapterOptions } from '../adapters/index.ts';
import { RankineError } from '../errors.ts';
import { optimizers } from '../optimizers/index.ts';
import { type EstimateRunOptions, type Predictor, predictor, type RunEstimate } from './estimate-run.ts';
import { FULL, parseRecipe, type Recipe } from './recipe.ts';

/** Fields of the recipe, by path, with other values. */
export type Changes = Readonly<Record<string, string | number>>;

/** A way to fit a run into a memory. */
export interface Proposal {
  /** What is given up, in words; absent where the run computes what it did. */
  readonly loss?: string;
  readonly changes: Changes;
  readonly estimate: RunEstimate;
}

export interface Proposals {
  /** Of the recipe as it is. */
  readonly estimate: RunEstimate;
  /** Least loss first; empty where the recipe fits as it is, or nothing does. */
  readonly fitting: readonly Proposal[];
  /** What takes least of all that was tried, where nothing fits. */
  readonly smallest?: Proposal;
}

/**
 * What of a recipe could change for its run to fit into `limit` bytes: first what changes no result (layer by layer,
 * smaller batches that add up), then what costs something, each with as little of the former as it needs.
 *
 * @throws RankineError as `estimateRun`
 */
export async function proposeFitting(
  recipe: Recipe,
  limit: number,
  options: EstimateRunOptions = {},
): Promise<Proposals> {
  const predict = await predictor(recipe, options);
  const estimate = predict(recipe);
  if (estimate.peak <= limit) return { estimate, fitting: [] };
  const fitting: Proposal[] = [];
  let smallest: Proposal | undefined;
  for (const { loss, changes } of concessions(recipe, estimate)) {
    for (const free of freeChanges(recipe, changes)) {
      const proposal = evaluated(recipe, { ...changes, ...free }, loss, predict);
      if (!proposal) continue;
      if (!smallest || proposal.estimate.peak < smallest.estimate.peak) smallest = proposal;
      if (proposal.estimate.peak > limit) continue;
      fitting.push(proposal);
      break;
    }
  }
  return fitting.length > 0 ? { estimate, fitting } : { estimate, fitting, smallest };
}

interface Concession {
  readonly loss?: string;
  readonly changes: Changes;
}

/** What may be given up, the least first; each alone. */
function concessions(recipe: Recipe, { length }: RunEstimate): Concession[] {
  return [
    { changes: {} },
    ...unclipped(recipe),
    ...lighterOptimizers(recipe),
    ...halves(length, 16).map((n) => ({
      loss: `rows of ${n} tokens at most`,
      changes: { 'data.maxLength': n },
    })),
    ...smallerRanks(recipe),
    ...(recipe.adapter.method === FULL
      ? [{ loss: 'factors of rank 8 train instead of all weights', changes: { 'adapter.method': 'lora' } }]
      : []),
  ];
}

/** The norm of all gradients needs them all at once; without it each goes as soon as its weights have moved. */
function unclipped({ clip, accumulate }: Recipe): Concession[] {
  if (clip === 0 || accumulate > 1) return [];
  return [{ loss: 'gradients are not clipped', changes: { clip: 0, execution: 'blockwise' } }];
}

const LIGHTER = ['adam-8bit', 'galore', 'lion', 'sgd'];

function lighterOptimizers({ optimizer, adapter }: Recipe): Concession[] {
  const heavy = !LIGHTER.includes(optimizer.method);
  // Projection is for matrices: factors are small already.
  const known = LIGHTER.filter((name) => optimizers.some((o) => o.name === name));
  const names = known.filter((name) => adapter.method === FULL || name !== 'galore');
  const lighter = heavy ? names : names.slice(names.indexOf(optimizer.method) + 1);
  return lighter.map((name) => ({
    loss: `another optimizer, ${name}`,
    changes: { 'optimizer.method': name },
  }));
}

function smallerRanks({ adapter }: Recipe): Concession[] {
  if (adapter.method === FULL) return [];
  return halves((adapter.options as AdapterOptions).rank, 1).map((rank) => ({
    loss: `rank ${rank}`,
    changes: { 'adapter.rank': rank },
  }));
}

/** What changes no result, the quickest first. */
function freeChanges(recipe: Recipe, given: Changes): Changes[] {
  const executions: Changes[] =
    recipe.execution === 'blockwise' || given.execution ? [{}] : [{}, { execution: 'blockwise' }];
  // Accumulated gradients stand side by side: batches stay whole where the point is that none does.
  const batches =
    given.clip === 0 ? [] : halves(recipe.batch, 1).filter((n) => Number.isInteger(recipe.batch / n));
  const splits: Changes[] = batches.map((batch) => ({
    batch,
    accumulate: (recipe.accumulate * recipe.batch) / batch,
  }));
  return [{}, ...splits].flatMap((split) => executions.map((execution) => ({ ...execution, ...split })));
}

/** n/2, n/4, … down to `least`. */
function halves(n: number, least: number): number[] {
  const list: number[] = [];
  for (let half = Math.floor(n / 2); half >= least; half = Math.floor(half / 2)) list.push(half);
  return list;
}

function evaluated(
  recipe: Recipe,
  changes: Changes,
  loss: string | undefined,
  predict: Predictor,
): Proposal | undefined {
  try {
    return { loss, changes, estimate: predict(changed(recipe, changes)) };
  } catch (error) {
    // A method that this model or these options do not allow is no proposal.
    if (error instanceof RankineError) return undefined;
    throw error;
  }
}

/** The recipe with changes; another method starts from its own defaults. */
export function changed(recipe: Recipe, changes: Changes): Recipe {
  const written: Record<string, unknown> = {
    ...recipe,
    adapter: { method: recipe.adapter.method, ...recipe.adapter.options },
    optimizer: { method: recipe.optimizer.method, ...recipe.optimizer.options },
  };
  for (const [path, value] of Object.entries(changes)) {
    const [field, key] = path.split('.');
    if (key === undefined) written[field] = value;
    else if (key === 'method') written[field] = { method: value };
    else written[field] = { ...(written[field] as object), [key]: value };
  }
  return parseRecipe(written);
}
