import { RankineError } from '../errors.ts';
import { parseRecipe, readRecipe, runPaths } from '../training/index.ts';
import type { Chosen, Recipe } from '../training/recipe.ts';
import { type RecipeFile, readRecipeFile } from './recipe-file.ts';
import { flagPaths, MAIN_KEYS, overlayFlags, type RecipeFlags } from './recipe-flags.ts';
import { factOf } from './report-error.ts';

/**
 * The recipe of a command line: a file (or none), with flags laid over it.
 *
 * @throws RankineError those of `readRecipeFile` and `parseRecipe`, with file and line; `cli/no-recipe`
 */
export async function recipeFrom(file: string | undefined, flags: RecipeFlags): Promise<Recipe> {
  const read = file === undefined ? undefined : await readRecipeFile(file);
  const input = overlayFlags(read?.content ?? {}, flags);
  const missing = ['model', 'data'].find((field) => input[field] === undefined);
  if (!read && missing !== undefined)
    throw new RankineError(
      'cli/no-recipe',
      `There is neither a recipe nor --${missing}.`,
      'Give a recipe file, or both --model and --data.',
    );
  try {
    return parseRecipe(input);
  } catch (error) {
    throw read && error instanceof RankineError ? located(error, read, flagPaths(flags)) : error;
  }
}

/** The recipe of a run that is resumed: the recorded one, with flags laid over it. */
export async function recordedRecipe(folder: string, flags: RecipeFlags): Promise<Recipe> {
  const recorded = (await readRecipe(runPaths(folder))) as Recipe;
  return parseRecipe(overlayFlags({ ...asWritten(recorded), output: folder }, flags));
}

/** A resolved recipe in the form that people write, methods and options side by side. */
function asWritten(recipe: Recipe): Record<string, unknown> {
  const chosen = ({ method, options }: Chosen) => ({ method, ...options });
  return { ...recipe, adapter: chosen(recipe.adapter), optimizer: chosen(recipe.optimizer) };
}

/** Adds the place to an error about a field, unless a flag has set that field. */
function located(error: RankineError, read: RecipeFile, set: readonly string[]): RankineError {
  const field = fieldOf(error);
  if (field === undefined || set.includes(field)) return error;
  const line = read.lineOf(field.split('.'));
  const place = line === undefined ? read.file : `${read.file}, line ${line}`;
  return new RankineError(error.code, `${place}: ${factOf(error)}`, error.remedy, { cause: error });
}

/** The field that an error of `parseRecipe` names in quotes. */
function fieldOf({ code, message }: RankineError): string | undefined {
  if (!code.startsWith('recipe/')) return undefined;
  const chosen = /^There is no (adapter|optimizer|schedule) "/.exec(message)?.[1];
  if (chosen) return `${chosen}.${MAIN_KEYS[chosen]}`;
  return /^The recipe[^"]*"([^"]+)"/.exec(message)?.[1] ?? '';
}
