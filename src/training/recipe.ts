import { z } from 'zod';
import { forms } from '../adapters/index.ts';
import { RankineError } from '../errors.ts';
import { optimizers } from '../optimizers/index.ts';
import { byName, checked } from './recipe-errors.ts';

const path = z.union([z.string(), z.array(z.string()).min(1)]);

export const datasetSpec = z.union([
  path,
  z.strictObject({
    path: path.describe('files, folders, patterns, or owner/name on the hub; rows follow in this order'),
    format: z
      .enum(['jsonl', 'json', 'csv', 'tsv', 'parquet', 'text'])
      .optional()
      .describe('how the files are written (default: by their endings)'),
    split: z
      .string()
      .optional()
      .describe('which files of a folder or of a hub data set (default of the hub: train)'),
    columns: z
      .record(z.string(), z.string())
      .optional()
      .describe('other names for columns: {prompt: question} reads the column question as prompt'),
    skip: z.int().min(0).optional().describe('rows left out at the start'),
    limit: z.int().positive().optional().describe('rows read at most'),
    unit: z
      .enum(['line', 'paragraph', 'file'])
      .optional()
      .describe('what a row of a text file is (default: line)'),
    delimiter: z.string().optional().describe('between columns of CSV and TSV (default: comma, tab)'),
    header: z
      .array(z.string())
      .optional()
      .describe('names of the columns of a CSV or TSV file that has no header line'),
  }),
]);

const modelSpec = z.strictObject({
  path: z
    .string()
    .describe('folder, owner/name[@revision] on the hub, or with init: random a shipped shape (llama-60m)'),
  init: z
    .enum(['pretrained', 'random'])
    .default('pretrained')
    .describe('random: fresh weights from config.json'),
  tokenizer: z
    .string()
    .optional()
    .describe('folder or hub id of the tokenizer, where the model has none of its own'),
  task: z
    .enum(['language-modelling', 'sequence-classification', 'embedding', 'image-classification'])
    .optional()
    .describe('what the model is for (default: what config.json says)'),
  labels: z
    .union([z.int().min(2), z.array(z.string()).min(2)])
    .optional()
    .describe(
      'classes: how many, or their names (default: config.json’s; those of a data set of images where it knows others)',
    ),
});

const dataSpec = z.strictObject({
  train: datasetSpec.describe(
    'what is learned: a file, folder, pattern or hub id, several of them, or an object; of images a folder with one folder a class, or rows of image (path or bytes) and label',
  ),
  validation: datasetSpec
    .optional()
    .describe('evaluated during training; the best checkpoint is chosen on it'),
  holdOut: z
    .number()
    .positive()
    .optional()
    .describe('rows of train held out for validation: a share below 1, else a count'),
  maxLength: z
    .int()
    .min(2)
    .optional()
    .describe('tokens in a row at most (default: the model’s limit, 1,024 at most)'),
  truncation: z
    .enum(['keep-start', 'keep-end', 'drop', 'error', 'split'])
    .optional()
    .describe('what becomes of examples that are too long (default: plain text split, others keep-start)'),
  lossOn: z
    .enum(['all', 'completions', 'assistant'])
    .optional()
    .describe(
      'tokens that are learned (default: all of plain text, completions of prompts, the assistant’s of chats)',
    ),
  packing: z
    .enum(['none', 'first-fit', 'sequential'])
    .default('none')
    .describe('several examples in a row, no attention across them: where each fits first, or in file order'),
  template: z.string().optional().describe('name of the chat template'),
  stream: z
    .boolean()
    .default(false)
    .describe(
      'tokenize on demand: for files larger than memory; of images, look at no label or file beforehand',
    ),
});

const warmup = z.number().min(0).default(0).describe('share of the run below 1, else a number of updates');
const final = z.number().min(0).max(1).default(0).describe('rate at the end as a share of the peak');

const scheduleSpec = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('constant'), warmup }),
  z.strictObject({ kind: z.literal('linear'), warmup, final }),
  z.strictObject({ kind: z.literal('cosine'), warmup, final }),
  z.strictObject({
    kind: z.literal('warmup-stable-decay'),
    warmup,
    final,
    decay: z.number().positive().describe('share of the run below 1, else updates, in which the rate falls'),
    shape: z.enum(['linear', 'cosine', '1-sqrt']).optional().describe('curve of the fall (default: linear)'),
  }),
  z.strictObject({
    kind: z.literal('inverse-sqrt'),
    warmup,
    timescale: z
      .number()
      .positive()
      .optional()
      .describe('updates after which the rate has fallen by √2 (default: the warm-up, else 10,000)'),
  }),
  z.strictObject({
    kind: z.literal('jagged-cosine'),
    warmup,
    final,
    restartEvery: z.int().positive().describe('updates from one restart to the next'),
    restartWarmup: z.int().min(0).describe('updates in which the rate rises again after a restart'),
  }),
]);

const named = (kind: string) => z.looseObject({ method: z.string().describe(`name of the ${kind}`) });

/** What one run is, as written by people. Defaults are filled in by `parseRecipe`. */
export const recipeSchema = z.strictObject({
  model: z.union([z.string(), modelSpec]).describe('folder or hub id of the base model'),
  data: z.union([z.string(), dataSpec]).describe('training data, or a description of it'),
  adapter: z
    .union([z.string(), named('weight form')])
    .default('lora')
    .describe('weight form, or full'),
  optimizer: z
    .union([z.string(), named('optimizer')])
    .default('adamw')
    .describe('how gradients move what is trained'),
  schedule: z
    .union([z.string(), scheduleSpec])
    .default({ kind: 'linear', warmup: 0.03, final: 0 })
    .describe('how the rate changes over the run'),
  rate: z.number().positive().optional().describe('peak learning rate (default 2e-4, full: 2e-5)'),
  steps: z.int().positive().optional().describe('updates; instead of epochs'),
  epochs: z.number().positive().optional().describe('passes over the data (default 1)'),
  batch: z.int().positive().default(8).describe('rows in a batch'),
  accumulate: z.int().positive().default(1).describe('batches per update'),
  clip: z.number().min(0).default(1).describe('largest 2-norm of all gradients together; 0: none'),
  seed: z
    .int()
    .default(0)
    .describe('of all that is random: fresh weights, factors, the order of the data, dropout'),
  execution: z
    .enum(['auto', 'whole', 'blockwise'])
    .default('auto')
    .describe(
      'one graph, or layer by layer in less memory; auto: layer by layer where one graph would not fit',
    ),
  evaluateEvery: z
    .int()
    .positive()
    .optional()
    .describe('updates between evaluations (default: ten times a run)'),
  saveEvery: z
    .int()
    .positive()
    .optional()
    .describe('updates between checkpoints (default: with each evaluation)'),
  keep: z.int().positive().default(2).describe('checkpoints kept besides the best'),
  patience: z.int().positive().optional().describe('evaluations without improvement before stopping'),
  logEvery: z.int().positive().default(10).describe('updates between log lines'),
  device: z
    .enum(['cpu', 'cuda', 'webgpu', 'coreml', 'dml', 'wasm'])
    .default('cpu')
    .describe('where programs run'),
  threads: z.int().positive().optional().describe('threads of the engine (default: all cores)'),
  output: z.string().default('runs/latest').describe('folder of the run'),
});

export type RecipeInput = z.input<typeof recipeSchema>;
type Parsed = z.output<typeof recipeSchema>;

/** A method chosen by name with its options, all defaults filled in. */
export interface Chosen {
  readonly method: string;
  readonly options: Record<string, unknown>;
}

/** A recipe with every default filled in: what is recorded and replayed. */
export interface Recipe
  extends Omit<Parsed, 'model' | 'data' | 'adapter' | 'optimizer' | 'schedule' | 'rate'> {
  readonly model: z.output<typeof modelSpec>;
  readonly data: z.output<typeof dataSpec>;
  readonly adapter: Chosen;
  readonly optimizer: Chosen;
  readonly schedule: z.output<typeof scheduleSpec>;
  readonly rate: number;
}

/** Trains the weights themselves: no weight form. */
export const FULL = 'full';

export const fullOptions = z.strictObject({
  modules: z
    .array(z.string())
    .min(1)
    .optional()
    .describe('modules that are trained, by suffix; the others stay as they are (default: all)'),
});

/** The modules that a recipe without a weight form trains; undefined: all, or there is a form. */
export function trainedModules({ adapter }: Pick<Recipe, 'adapter'>): readonly string[] | undefined {
  return adapter.method === FULL ? (adapter.options as z.output<typeof fullOptions>).modules : undefined;
}

/**
 * Checks a recipe and fills in its defaults.
 *
 * @throws RankineError `recipe/unknown-key` naming the nearest known key, `recipe/invalid` naming the field,
 *   `recipe/unknown-method`
 */
export function parseRecipe(input: unknown): Recipe {
  const parsed = checked(recipeSchema, input, '');
  const adapter = chooseAdapter(parsed.adapter);
  const data = typeof parsed.data === 'string' ? dataSpec.parse({ train: parsed.data }) : parsed.data;
  refuseContradictions(parsed, data);
  return {
    ...parsed,
    model: typeof parsed.model === 'string' ? modelSpec.parse({ path: parsed.model }) : parsed.model,
    data,
    adapter,
    optimizer: chooseOptimizer(parsed.optimizer),
    schedule:
      typeof parsed.schedule === 'string'
        ? checked(scheduleSpec, { kind: parsed.schedule }, 'schedule')
        : parsed.schedule,
    rate: parsed.rate ?? (adapter.method === FULL ? 2e-5 : 2e-4),
  };
}

function refuseContradictions(recipe: Parsed, data: z.output<typeof dataSpec>): void {
  const refuse = (fact: string, remedy: string) => {
    throw new RankineError('recipe/invalid', fact, remedy);
  };
  if (recipe.steps !== undefined && recipe.epochs !== undefined)
    refuse('The recipe has both steps and epochs.', 'Keep one of them.');
  if (data.validation !== undefined && data.holdOut !== undefined)
    refuse('The recipe has both data.validation and data.holdOut.', 'Keep one of them.');
  if (recipe.patience !== undefined && data.validation === undefined && data.holdOut === undefined)
    refuse(
      'The recipe has patience, but nothing to evaluate.',
      'Add data.validation or data.holdOut, or leave patience out.',
    );
}

function chooseAdapter(chosen: Parsed['adapter']): Chosen {
  const { method, ...options } = typeof chosen === 'string' ? { method: chosen } : chosen;
  if (method === FULL) return { method, options: checked(fullOptions, options, 'adapter') };
  const form = byName(forms, method, 'adapter', [FULL]);
  return { method, options: checked(form.options, options, 'adapter') };
}

function chooseOptimizer(chosen: Parsed['optimizer']): Chosen {
  const { method, ...options } = typeof chosen === 'string' ? { method: chosen } : chosen;
  const found = byName(optimizers, method, 'optimizer', []);
  return { method, options: checked(found.options, options, 'optimizer') as Record<string, unknown> };
}
