import { isDeepStrictEqual } from 'node:util';
import { RankineError } from '../errors.ts';
import type { Recipe } from './recipe.ts';

/** Fields that change where and how a run computes, not what: a resumed run may change them. */
const FREE: ReadonlySet<string> = new Set([
  'output',
  'keep',
  'saveEvery',
  'logEvery',
  'device',
  'threads',
  'execution',
]);

/**
 * The recipe that a run goes on with: what was recorded when it started, with the asked for values of the fields that
 * may change. `auto` keeps the execution that was chosen then.
 *
 * @throws RankineError `training/other-recipe` naming the first field that differs
 */
export function resumedRecipe(recorded: unknown, asked: Recipe): Recipe {
  const started = recorded as Recipe;
  const [field] = differences(withoutFree(started), withoutFree(asked), []);
  if (field)
    throw new RankineError(
      'training/other-recipe',
      `The run was started with ${field.path} = ${shown(field.before)}, but is to be resumed with ${shown(field.after)}.`,
      'Resume with the recipe that the run was started with, or start a new run in another folder.',
    );
  return { ...asked, execution: asked.execution === 'auto' ? started.execution : asked.execution };
}

function withoutFree(recipe: Recipe): Record<string, unknown> {
  return Object.fromEntries(Object.entries(recipe).filter(([field]) => !FREE.has(field)));
}

interface Difference {
  readonly path: string;
  readonly before: unknown;
  readonly after: unknown;
}

function differences(before: unknown, after: unknown, at: readonly string[]): Difference[] {
  if (isDeepStrictEqual(before, after)) return [];
  if (!isRecord(before) || !isRecord(after)) return [{ path: at.join('.'), before, after }];
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return keys.flatMap((key) => differences(before[key], after[key], [...at, key]));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}
