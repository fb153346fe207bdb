import { stringify } from 'yaml';
import { z } from 'zod';
import { RankineError } from '../errors.ts';
import { parseStudy, type Study, studyMethods, studySchema } from '../studies/index.ts';
import { runRecipe } from '../studies/methods.ts';
import { recipeSchema } from '../training/index.ts';
import { parseMore } from './more-fields.ts';

/** What the form sends: texts as typed, and the list of methods. */
export const formSchema = z.record(z.string(), z.union([z.string(), z.array(z.string())]));
export type FormValues = Readonly<Record<string, string | readonly string[]>>;

/** Messages by field of the form; those under `form` belong to none. */
export type FieldErrors = Readonly<Record<string, string>>;

export type Checked =
  | { readonly study: Study; readonly yaml: string; readonly errors?: undefined }
  | { readonly errors: FieldErrors };

/** Where a field's value stands in a study. */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  name: ['name'],
  question: ['question'],
  model: ['recipe', 'model'],
  train: ['recipe', 'data', 'train'],
  holdOut: ['recipe', 'data', 'holdOut'],
  maxLength: ['recipe', 'data', 'maxLength'],
  steps: ['recipe', 'steps'],
  batch: ['recipe', 'batch'],
  rate: ['recipe', 'rate'],
  // Before test itself: an error of the limit stands at its own field.
  testLimit: ['test', 'limit'],
  test: ['test'],
  general: ['general'],
  methods: ['methods'],
  seeds: ['seeds'],
  trials: ['tuning', 'trials'],
  metric: ['metric'],
  parallel: ['parallel'],
};
const NUMBERS = new Set([
  ...['holdOut', 'maxLength', 'testLimit', 'steps', 'batch', 'rate', 'seeds', 'trials', 'parallel'],
]);

/** The study that a form describes, checked by the same schemas as one from a file; errors stand at their fields. */
export function checkForm(values: FormValues): Checked {
  const more = parseMore(values.more);
  if ('error' in more) return { errors: { more: more.error } };
  const input = studyInput(values, more.fields);
  const errors = { ...schemaErrors(input), ...missing(values) };
  if (Object.keys(errors).length > 0) return { errors };
  try {
    const study = parseStudy(input);
    for (const method of studyMethods(study))
      runRecipe(study, method, {}, { seed: study.seeds[0], output: study.output });
    return { study, yaml: stringify(input, { lineWidth: 0 }) };
  } catch (error) {
    if (!(error instanceof RankineError)) throw error;
    return { errors: { [FIELDS_OF_CODES[error.code] ?? 'methods']: error.message } };
  }
}

const FIELDS_OF_CODES: Readonly<Record<string, string>> = {
  'studies/no-validation': 'holdOut',
  'studies/reserved-field': 'more',
};

/** The study as its file will say it. */
function studyInput(values: FormValues, more: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const study: Record<string, unknown> = {};
  for (const [field, place] of Object.entries(PLACES)) {
    const value = values[field];
    if (isEmpty(value)) continue;
    // Data with a limit are an object.
    const at = field === 'test' && !isEmpty(values.testLimit) ? ['test', 'path'] : place;
    put(study, at, typeof value === 'string' && NUMBERS.has(field) ? numeric(value) : value);
  }
  const { budgetKind = '', budget = '' } = values as Record<string, string>;
  if (budgetKind !== '' && budget !== '') {
    // Memory may be written with a unit.
    const amount = budgetKind === 'memory' ? budget : numeric(budget);
    study.budget = { [budgetKind]: amount };
  }
  const { rateLow = '', rateHigh = '', search = '' } = values as Record<string, string>;
  if (study.tuning && search !== '') put(study, ['tuning', 'search'], search);
  if (study.tuning && (rateLow !== '' || rateHigh !== ''))
    put(study, ['tuning', 'rate'], [numeric(rateLow), numeric(rateHigh)]);
  return { ...study, recipe: merged((study.recipe ?? {}) as Fields, more) };
}

function isEmpty(value: FormValues[string] | undefined): boolean {
  return value === undefined || value.length === 0;
}

type Fields = Readonly<Record<string, unknown>>;

/** Fields of both, down to the last; where both have one, the second's. */
function merged(first: Fields, second: Fields): Fields {
  const both = Object.entries(second).map(([key, value]) => {
    const before = first[key];
    return [key, isFields(before) && isFields(value) ? merged(before, value) : value];
  });
  return { ...first, ...Object.fromEntries(both) };
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function put(target: Record<string, unknown>, [head, ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) {
    target[head] = value;
    return;
  }
  const inner = { ...(target[head] as Record<string, unknown> | undefined) };
  put(inner, rest, value);
  target[head] = inner;
}

/** What is no number stays as it was typed: the schema then says so. */
function numeric(text: string): number | string {
  const value = Number(text.replaceAll(/[\s_]/g, ''));
  return text.trim() === '' || Number.isNaN(value) ? text : value;
}

function schemaErrors(input: Record<string, unknown>): FieldErrors {
  const errors: Record<string, string> = {};
  const study = studySchema.safeParse(input).error?.issues ?? [];
  const recipe = recipeSchema.safeParse(input.recipe).error?.issues ?? [];
  const located = [...study, ...recipe.map((issue) => ({ ...issue, path: ['recipe', ...issue.path] }))];
  for (const issue of located) {
    const { message, path, keys = [] } = deepestIssue(issue as Issue);
    const at = [...path, ...keys.slice(0, 1)].map(String);
    const field = fieldAt(at);
    errors[field] ??= sentence(message, at, field);
  }
  return errors;
}

interface Issue {
  readonly message: string;
  readonly path: readonly PropertyKey[];
  /** Of unknown keys, which. */
  readonly keys?: readonly string[];
  readonly errors?: readonly (readonly Issue[])[];
}

/** Of a union's branches, the issue of the one that got furthest. */
function deepestIssue(issue: Issue): Issue {
  const inner = (issue.errors ?? [])
    .flat()
    .map((e) => deepestIssue({ ...e, path: [...issue.path, ...e.path] }));
  return inner.sort((a, b) => b.path.length - a.path.length)[0] ?? issue;
}

function fieldAt(path: readonly string[]): string {
  const matches = ([, place]: [string, readonly string[]]) => place.every((key, i) => path[i] === key);
  const [found] = Object.entries(PLACES).find(matches) ?? [];
  if (found) return found;
  if (path[0] === 'budget') return 'budget';
  if (path[0] === 'tuning') return path[1] === 'search' ? 'search' : 'rateLow';
  return path[0] === 'recipe' && path.length > 1 ? (path[1] === 'data' ? 'train' : 'more') : 'form';
}

function sentence(message: string, path: readonly string[], field: string): string {
  const where = field === 'more' || field === 'form' ? `${path.slice(1).join('.')}: ` : '';
  const plain = message
    .replace(/^Invalid input: /, '')
    .replace(/^expected (\w+), received string$/, 'not a $1');
  return `${where}${plain}`;
}

/** Fields that a study needs, said plainly instead of as a type error. */
function missing(values: FormValues): FieldErrors {
  const needed: Readonly<Record<string, string>> = {
    name: 'give the study a name',
    model: 'name a model: a folder, or an id on the hub',
    train: 'name the training data',
    test: 'name the test data: they judge the methods',
    methods: 'choose at least one method',
  };
  const empty = Object.entries(needed).filter(([field]) => (values[field]?.length ?? 0) === 0);
  const amount = values.budgetKind && !values.budget ? [['budget', 'how much of it?'] as const] : [];
  return Object.fromEntries([...empty, ...amount]);
}
