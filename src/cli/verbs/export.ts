import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { createEngine } from '../../engine/index.ts';
import { RankineError } from '../../errors.ts';
import { exists } from '../../formats/index.ts';
import { findRow, RESULT_FILE, readResult, recommendedRow, rowFolder } from '../../studies/index.ts';
import { openTrainedRun, writeAdapter } from '../../training/index.ts';
import type { Verb } from '../program.ts';
import { recordedRecipe } from '../recipe.ts';
import { styleFor } from '../terminal/index.ts';

interface Options {
  readonly output: string;
  readonly row?: string;
  readonly asLora?: boolean;
  readonly compact?: boolean;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

const EXAMPLES = `
RUN is the folder of a run, which may still be going on, or one of its checkpoints (RUN/checkpoints/step-100). Of a run
the best checkpoint is taken, without validation data the latest. The base model must be where the recipe found it.
Of the folder of a study it is the recommended method, of its seeds the one that is best on validation data.

Examples:
  rankine export runs/latest --output adapter
  rankine export runs/latest/checkpoints/step-100 --output adapter-100
  rankine export studies/dates --output adapter
  rankine export studies/dates --row lora/2 --output adapter-lora
  rankine export runs/bone-balance --as-lora --output adapter-for-other-tools`;

export const exportVerb: Verb = {
  define(command: Command) {
    command
      .argument('<run>', 'folder of a run, of one of its checkpoints, or of a study')
      .requiredOption('--output <folder>', 'folder of the PEFT adapter')
      .option('--row <method/seed>', 'which run of a study (default: the recommended one)')
      .option(
        '--as-lora',
        "as PEFT's plain LORA where the method's own type is another, for tools that read nothing else",
      )
      .option(
        '--compact',
        "the method's smallest file, which only Rankine reads (NOLA: coefficients and a seed)",
      )
      .option('--overwrite', 'replace the folder if it is there')
      .option('--json', 'one JSON object at the end')
      .addHelpText('after', EXAMPLES)
      .action(run);
  },
};

async function run(path: string, options: Options): Promise<void> {
  const { output, overwrite, asLora, compact } = options;
  if (asLora && compact) throw twoTypes();
  if (!overwrite && (await exists(output))) throw folderExists(output);
  const { folder, step } = parseRun(await runOf(path, options.row));
  const recipe = await recordedRecipe(folder, {});
  const engine = await createEngine({ device: recipe.device, threads: recipe.threads });
  try {
    const trained = await openTrainedRun(engine, folder, recipe, step);
    if (!trained.adaptation) throw notAnAdapter(recipe.output);
    const { model, adaptation, trainables, step: at } = trained;
    const as = asLora ? 'lora' : compact ? 'compact' : 'own';
    const { config } = await writeAdapter(output, model, adaptation, trainables, recipe.model.path, { as });
    report(options, { base: recipe.model.path, step: at, type: config.peft_type });
  } finally {
    await engine.dispose();
  }
}

/** Of a study's folder the run that is asked for; any other path as it is. */
async function runOf(path: string, row: string | undefined): Promise<string> {
  if (row === undefined && !(await exists(join(path, RESULT_FILE)))) return path;
  const result = await readResult(path);
  return rowFolder(path, row === undefined ? recommendedRow(result) : findRow(result, row));
}

function parseRun(path: string): { folder: string; step?: number } {
  const full = resolve(path);
  const step = /^step-(\d+)$/.exec(basename(full))?.[1];
  if (step === undefined || basename(dirname(full)) !== 'checkpoints') return { folder: path };
  return { folder: join(path, '..', '..'), step: Number(step) };
}

/** Types of files that PEFT does not know. */
const OWN_TYPES = ['FLYLORA', 'NOLA'];

function report(
  { json, output }: Options,
  { base, step, type }: { base: string; step: number; type: string },
): void {
  const style = styleFor(process.stdout);
  const text = json
    ? JSON.stringify({ output, base, step, type })
    : `The adapter of step ${step} is in ${style.strong(output)}, of the type ${type}.\n${reader(type, output)}`;
  process.stdout.write(`${text}\n`);
}

function reader(type: string, output: string): string {
  if (OWN_TYPES.includes(type)) return 'PEFT has no such type: Rankine reads it (--adapter).';
  return `Python loads it with PeftModel.from_pretrained(base, '${output}').`;
}

function twoTypes(): RankineError {
  return new RankineError(
    'cli/two-types',
    'An adapter is written either as LORA or as its smallest file.',
    'Give --as-lora or --compact.',
  );
}

function notAnAdapter(output: string): RankineError {
  return new RankineError(
    'training/no-peft',
    `The run in ${output} trained every weight: there is no adapter.`,
    `Its whole model is in ${join(output, 'model')}, a Hugging Face folder.`,
  );
}

function folderExists(output: string): RankineError {
  return new RankineError(
    'cli/folder-exists',
    `${output} is there already.`,
    'Choose another folder, or give --overwrite.',
  );
}
