import type { AdapterOptions } from '../adapters/index.ts';
import { RankineError } from '../errors.ts';
import { optimizers } from '../optimizers/index.ts';
import { type EstimateRunOptions, type Predictor, predictor, type RunEstimate } from './estimate-run.ts';
import { FULL, parseRecipe, type Recipe, trainedModules } from './recipe.ts';

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
 * smaller batches that add up), then what costs something, alone or together. What costs something is proposed only
 * where it needs less of the former, which takes time.
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
  let quickest = Number.POSITIVE_INFINITY;
  for (const concession of concessions(recipe, estimate)) {
    const free = freeChanges(recipe, concession.changes);
    const propose = ({ changes }: FreeChange) =>
      evaluated(recipe, { ...concession.changes, ...changes }, concession.loss, predict);
    const least = propose(free[free.length - 1]);
    if (!least) continue;
    if (!smallest || least.estimate.peak < smallest.estimate.peak) smallest = least;
    if (least.estimate.peak > limit) continue;
    for (const change of free) {
      if (change.slowness >= quickest) break;
      const proposal = propose(change);
      if (!proposal || proposal.estimate.peak > limit) continue;
      fitting.push(proposal);
      quickest = change.slowness;
      break;
    }
  }
  return fitting.length > 0 ? { estimate, fitting } : { estimate, fitting, smallest };
}

interface Concession {
  readonly loss?: string;
  readonly changes: Changes;
}

/** What may be given up, the least first: each alone, then ever more together. */
function concessions(recipe: Recipe, { length }: RunEstimate): Concession[] {
  const kinds = [
    unclipped(recipe),
    lighterOptimizers(recipe),
    halves(length, 16).map((n) => ({
      loss: `rows of ${n} tokens at most`,
      changes: { 'data.maxLength': n },
    })),
    smallerRanks(recipe),
    recipe.adapter.method === FULL && trainedModules(recipe) === undefined
      ? [{ loss: 'factors of rank 8 train instead of all weights', changes: { 'adapter.method': 'lora' } }]
      : [],
  ];
  return [{ changes: {} }, ...kinds.flat(), ...joined(kinds)];
}

/** Every member of a kind together with the second (or only) ones of all kinds before it. */
function joined(kinds: readonly (readonly Concession[])[]): Concession[] {
  const list: Concession[] = [];
  let before: readonly Concession[] = [];
  for (const kind of kinds) {
    if (before.length > 0) list.push(...kind.map((member) => together([...before, member])));
    if (kind.length > 0) before = [...before, kind[Math.min(1, kind.length - 1)]];
  }
  return list;
}

function together(all: readonly Concession[]): Concession {
  return {
    loss: all.map((c) => c.loss).join('; '),
    changes: Object.assign({}, ...all.map((c) => c.changes)),
  };
}

/** The norm of all gradients needs them all at once; without it each goes as soon as its weights have moved. */
function unclipped({ clip, accumulate }: Recipe): Concession[] {
  if (clip === 0 || accumulate > 1) return [];
  return [{ loss: 'gradients are not clipped', changes: { clip: 0, execution: 'blockwise' } }];
}

const LIGHTER = ['adam-8bit', 'galore', 'lion', 'sign-sgd'];

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

/** A change that costs time alone. */
interface FreeChange {
  readonly changes: Changes;
  readonly slowness: number;
}

/** What changes no result, the quickest first. */
function freeChanges(recipe: Recipe, given: Changes): FreeChange[] {
  const { batch, accumulate } = recipe;
  const blockwise = { changes: { execution: 'blockwise' }, slowness: 1 };
  const executions: FreeChange[] =
    recipe.execution === 'blockwise' || given.execution === 'blockwise'
      ? [{ changes: {}, slowness: 1 }]
      : [{ changes: {}, slowness: 0 }, blockwise];
  // Accumulated gradients stand side by side: batches stay whole where the point is that none does.
  const parts = given.clip === 0 ? [] : halves(batch, 1).filter((n) => batch % n === 0);
  const splits: FreeChange[] = parts.map((n) => ({
    changes: { batch: n, accumulate: (accumulate * batch) / n },
    slowness: 2 * Math.log2(batch / n),
  }));
  return [{ changes: {}, slowness: 0 }, ...splits].flatMap((split) =>
    executions.map((execution) => ({
      changes: { ...execution.changes, ...split.changes },
      slowness: execution.slowness + split.slowness,
    })),
  );
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
