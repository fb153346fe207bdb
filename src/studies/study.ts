import { dirname, join } from 'node:path';
import { z } from 'zod';
import { RankineError } from '../errors.ts';
import { checked, datasetSpec } from '../training/index.ts';
import { bytesOf } from './sizes.ts';

const range = z
  .tuple([z.number(), z.number()])
  .describe('drawn between both; log-uniform where both are positive, whole where both are');

const size = z.union([z.int().positive(), z.string()]).transform((value, context) => {
  const bytes = bytesOf(value);
  if (bytes !== undefined) return bytes;
  context.addIssue({ code: 'custom', message: 'a size is a number of bytes, or like 300MB or 2GiB' });
  return z.NEVER;
});

const budgetSpec = z
  .strictObject({
    trainable: z
      .int()
      .positive()
      .optional()
      .describe('trained numbers at most; ranks are chosen to use them'),
    memory: size.optional().describe('peak memory of training at most, as predicted'),
    steps: z.int().positive().optional().describe('updates of every run'),
    tokens: z.int().positive().optional().describe('tokens that every run reads at most'),
    time: z
      .number()
      .positive()
      .optional()
      .describe('seconds of training; updates are chosen by a first measured run'),
  })
  .refine((b) => Object.values(b).filter((v) => v !== undefined).length === 1, {
    message: 'a budget is one of trainable, memory, steps, tokens, time',
  });

const tuningSpec = z.strictObject({
  trials: z.int().positive().describe('settings that every method may try'),
  search: z
    .enum(['random', 'halving'])
    .default('random')
    .describe('halving: all settings for a quarter of the run, the better half for a half, the rest in full'),
  rate: range.optional().describe('bounds of the learning rate, drawn log-uniformly'),
  space: z
    .record(z.string(), z.union([range, z.strictObject({ choices: z.array(z.unknown()).min(1) })]))
    .default({})
    .describe(
      'other fields of the recipe by path, e.g. adapter.alpha: [1, 64] or schedule.kind: {choices: […]}',
    ),
});

const method = z.union([z.string(), z.looseObject({ label: z.string().optional() })]);

/** Shorthands for lists of methods. */
export const METHOD_SETS = ['all adapters', 'all optimizers', 'all that fit'] as const;

export const METRICS = ['loss', 'accuracy', 'exact-match'] as const;
export type Metric = (typeof METRICS)[number];

/** What a study is, as written by people. */
export const studySchema = z.strictObject({
  name: z
    .string()
    .regex(/^\w[\w.-]*$/, 'letters, digits, dots, dashes and underscores, no dot or dash first')
    .describe('name of the study and of its folder'),
  question: z.string().default('').describe('what it is to answer, for the report'),
  recipe: z
    .looseObject({})
    .describe('what all runs share: any field of a recipe but seed, output and the swept ones'),
  methods: z
    .union([z.enum(METHOD_SETS), z.array(method).min(1)])
    .describe('names of forms and optimizers, or fields of a recipe with a label; or a set of all'),
  exclude: z.array(z.string()).default([]).describe('methods left out of a set'),
  budget: budgetSpec.optional().describe('what every method may spend, one of'),
  seeds: z
    .union([z.int().positive(), z.array(z.int().min(0)).min(1)])
    .default(3)
    .transform((s) => (typeof s === 'number' ? Array.from({ length: s }, (_, i) => i + 1) : s))
    .describe('how many, or which'),
  tuning: tuningSpec.optional().describe('the same search for every method, judged on validation data'),
  test: datasetSpec.describe('data that judge the methods: never seen in training or tuning'),
  metric: z.enum(METRICS).default('loss').describe('what decides'),
  metrics: z.array(z.enum(METRICS)).default([]).describe('further measures'),
  general: datasetSpec
    .optional()
    .describe('general text: its loss before and after tells what was forgotten'),
  parallel: z.int().positive().default(1).describe('runs at once'),
  memoryCap: size.optional().describe('a run that takes more memory is ended: out of memory'),
  output: z.string().optional().describe('folder (default: studies/<name>)'),
  store: z
    .string()
    .optional()
    .describe('database of runs, shared by studies (default: runs.duckdb beside the folder)'),
});

export type StudyInput = z.input<typeof studySchema>;
export type Study = z.output<typeof studySchema> & { readonly output: string };

/**
 * Checks a study and fills in its defaults.
 *
 * @throws RankineError `recipe/unknown-key`, `recipe/invalid`, `studies/reserved-field`, `studies/no-validation`
 */
export function parseStudy(input: unknown): Study {
  const study = checked(studySchema, input, '');
  for (const field of ['seed', 'output'])
    if (field in study.recipe)
      throw new RankineError(
        'studies/reserved-field',
        `The study's recipe sets "${field}", which the study itself chooses.`,
        field === 'seed' ? 'Use seeds: of the study.' : 'Use output: of the study.',
      );
  const data = study.recipe.data as Record<string, unknown> | string | undefined;
  const validates = typeof data === 'object' && ('validation' in data || 'holdOut' in data);
  if (study.tuning && !validates)
    throw new RankineError(
      'studies/no-validation',
      'The study tunes, but its recipe has no validation data to choose by.',
      'Add recipe.data.validation or recipe.data.holdOut; the test data never choose.',
    );
  return { ...study, output: study.output ?? `studies/${study.name}` };
}

/** File of a study's database: its own choice, else one that the studies beside it share. */
export function storeFile({ store, output }: Study): string {
  return store ?? join(dirname(output), 'runs.duckdb');
}
