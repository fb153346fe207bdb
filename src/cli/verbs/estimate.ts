import type { Command } from 'commander';
import {
  type Changes,
  estimateRun,
  type Proposal,
  type Proposals,
  proposeFitting,
  publishedFigures,
  type Recipe,
  type RunEstimate,
} from '../../training/index.ts';
import { decimalBytes, memorySize } from '../memory-size.ts';
import type { Verb } from '../program.ts';
import { publishedLines } from '../published-lines.ts';
import { recipeFrom } from '../recipe.ts';
import { FLAG_FIELDS, type RecipeFlags } from '../recipe-flags.ts';
import { flagsOf, recipeOptions } from '../recipe-options.ts';
import { count, percent, styleFor, table } from '../terminal/index.ts';

interface Options extends Omit<RecipeFlags, 'data'> {
  readonly data?: readonly string[];
  readonly memory?: number;
  readonly published?: boolean;
  readonly json?: boolean;
}

const EXAMPLES = `
Nothing is allocated: of the model only config.json is read (of a hub model nothing else is fetched, unless rows must be
measured with its tokenizer), of the data only what tells how long rows are. 1 MB = 10⁶ bytes.

Examples:
  rankine estimate recipe.yaml
  rankine estimate recipe.yaml --optimizer galore --execution blockwise --json
  rankine estimate recipe.yaml --memory 300MB
  rankine estimate --published`;

export const estimateVerb: Verb = {
  define(command: Command) {
    recipeOptions(command)
      .option('--memory <size>', 'propose what would fit, e.g. 300MB or 24GB', memorySize)
      .option('--published', "the papers' memory figures with their formulas, instead of a recipe")
      .option('--json', 'one JSON object, in bytes')
      .addHelpText('after', EXAMPLES)
      .action(run);
  },
};

async function run(file: string | undefined, options: Options): Promise<void> {
  const write = (value: unknown, lines: () => string[]) =>
    void process.stdout.write(`${options.json ? JSON.stringify(value, null, 2) : lines().join('\n')}\n`);
  if (options.published) {
    const figures = await publishedFigures();
    write(figures, () => publishedLines(figures));
    return;
  }
  const recipe = await recipeFrom(file, flagsOf(options));
  const { memory } = options;
  if (memory === undefined) {
    const estimate = await estimateRun(recipe);
    write(estimate, () => estimateLines(recipe, estimate));
    return;
  }
  const proposals = await proposeFitting(recipe, memory);
  const { estimate, ...rest } = proposals;
  write({ ...estimate, memory, fits: estimate.peak <= memory, ...rest }, () => [
    ...estimateLines(recipe, estimate),
    '',
    ...proposalLines(proposals, memory),
  ]);
}

const KINDS = ['weights', 'adapter', 'gradients', 'optimizer', 'activations', 'data', 'runtime'] as const;

const TITLES: Readonly<Record<(typeof KINDS)[number], string>> = {
  weights: 'weights',
  adapter: 'adapter',
  gradients: 'gradients',
  optimizer: 'optimizer state',
  activations: 'activations',
  data: 'data',
  runtime: 'Node and ONNX Runtime',
};

function estimateLines(recipe: Recipe, estimate: RunEstimate): string[] {
  const { execution, rows, length, trainable, parameters, peak } = estimate;
  const how = execution === 'whole' ? 'in one graph' : 'layer by layer';
  const cells = (title: string, bytes: number) => [`  ${title}`, decimalBytes(bytes), percent(bytes / peak)];
  return [
    styleFor(process.stdout).strong(
      `${recipe.model.path}: ${recipe.adapter.method}, ${recipe.optimizer.method}`,
    ),
    `${count(trainable)} numbers train beside or among ${count(parameters)} weights; ${how}, ${rows} rows of ${length} tokens.`,
    ...table([...KINDS.map((kind) => cells(TITLES[kind], estimate[kind])), cells('peak', peak)], {
      align: ['left', 'right', 'right'],
    }),
  ];
}

function proposalLines({ estimate, fitting, smallest }: Proposals, memory: number): string[] {
  const limit = decimalBytes(memory);
  if (estimate.peak <= memory) return [`It fits into ${limit}.`];
  if (fitting.length === 0)
    return [
      `Nothing that was tried fits into ${limit}.`,
      ...(smallest ? [`Least of all: ${rowOf(smallest).join('  ')}`] : []),
    ];
  return [
    `It does not fit into ${limit}. What would, least loss first:`,
    ...table(fitting.map(rowOf), { header: ['peak', 'flags', 'what is lost'], align: ['right'] }),
  ];
}

function rowOf({ estimate, changes, loss }: Proposal): string[] {
  return [decimalBytes(estimate.peak), flagText(changes), loss ?? 'nothing but time'];
}

/** The changes as flags of `rankine train`. */
function flagText(changes: Changes): string {
  const flags = new Map<string, string>(Object.entries(FLAG_FIELDS).map(([flag, path]) => [path, flag]));
  return Object.entries(changes)
    .map(([path, value]) => (flags.has(path) ? `--${flags.get(path)} ${value}` : `--set ${path}=${value}`))
    .join(' ');
}
