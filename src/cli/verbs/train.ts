import type { Command } from 'commander';
import { listenForInterrupt, train } from '../../training/index.ts';
import type { Verb } from '../program.ts';
import { recipeFrom, recordedRecipe } from '../recipe.ts';
import type { RecipeFlags } from '../recipe-flags.ts';
import { flagsOf, recipeOptions } from '../recipe-options.ts';
import { printer } from '../train/printer.ts';

interface Options extends RecipeFlags {
  readonly data?: readonly string[];
  readonly output?: string;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

const EXAMPLES = `
RECIPE is YAML, JSON or TypeScript (default export); its fields are in docs/recipe.md. Flags override it.
Relative paths, in a recipe too, are relative to the current folder.
Ctrl-C finishes the update, saves and stops (exit code 130); a second one stops at once.

Examples:
  rankine train recipe.yaml
  rankine train recipe.yaml --rank 16 --set data.maxLength=256 --output runs/r16
  rankine train --model gpt2 --data train.jsonl --validation valid.jsonl --adapter dora --epochs 3
  rankine train --resume --output runs/r16
  rankine train recipe.yaml --json > events.jsonl`;

export const trainVerb: Verb = {
  define(command: Command) {
    recipeOptions(command)
      .option('--resume', 'go on from the latest checkpoint of the run in --output')
      .option('--overwrite', 'remove what an earlier run left in --output')
      .option('--json', 'one JSON event a line on standard output')
      .addHelpText('after', EXAMPLES)
      .action(run);
  },
};

async function run(file: string | undefined, options: Options, command: Command): Promise<void> {
  if (options.resume && options.overwrite)
    command.error('error: --resume and --overwrite exclude each other');
  const recipe = await recipeOf(file, options);
  const out = printer(recipe, { json: options.json });
  const interruption = listenForInterrupt({
    onFirst: () => out.interrupted(),
    onSecond: () => out.abandon(),
  });
  try {
    const result = await train(recipe, {
      mode: options.resume ? 'resume' : options.overwrite ? 'overwrite' : 'new',
      onEvent: (event) => out.event(event),
      signal: interruption.signal,
    });
    out.result(result);
    if (!result.finished) process.exitCode = 130;
  } catch (error) {
    out.abandon();
    throw error;
  } finally {
    interruption.dispose();
  }
}

/** A run that is resumed without a recipe goes on with the one that it recorded. */
function recipeOf(file: string | undefined, options: Options) {
  const flags: RecipeFlags = flagsOf(options);
  const recorded = options.resume && file === undefined && options.model === undefined;
  return recorded ? recordedRecipe(options.output ?? 'runs/latest', flags) : recipeFrom(file, flags);
}
