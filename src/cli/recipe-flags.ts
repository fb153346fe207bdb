import { parse } from 'yaml';
import { RankineError } from '../errors.ts';

/** Flags of `rankine train` that stand for a field of the recipe, by the name that commander gives them. */
export const FLAG_FIELDS = {
  model: 'model.path',
  data: 'data.train',
  validation: 'data.validation',
  adapter: 'adapter.method',
  rank: 'adapter.rank',
  alpha: 'adapter.alpha',
  targets: 'adapter.targets',
  optimizer: 'optimizer.method',
  rate: 'rate',
  steps: 'steps',
  epochs: 'epochs',
  batch: 'batch',
  accumulate: 'accumulate',
  seed: 'seed',
  execution: 'execution',
  output: 'output',
  device: 'device',
  threads: 'threads',
} as const;

export type RecipeFlags = { readonly [Flag in keyof typeof FLAG_FIELDS]?: unknown } & {
  readonly set?: readonly string[];
};

type Fields = Record<string, unknown>;

/** Fields that a recipe may write as one word, and what the word stands for. */
export const MAIN_KEYS: Readonly<Record<string, string>> = {
  model: 'path',
  data: 'train',
  adapter: 'method',
  optimizer: 'method',
  schedule: 'kind',
};

/** What a field that is absent stands for (`recipeSchema`). */
const DEFAULT_WORDS: Readonly<Record<string, string>> = {
  adapter: 'lora',
  optimizer: 'adamw',
  schedule: 'linear',
};

/** Setting one of these takes the other away: they exclude each other. */
const RIVALS: Readonly<Record<string, string>> = { steps: 'epochs', epochs: 'steps' };

/** Keys of a field that goes with another kind or method: its options belong to the old one. */
const CHOICES = new Set(['adapter.method', 'optimizer.method', 'schedule.kind']);

/** Paths of the fields that the flags set. */
export function flagPaths(flags: RecipeFlags): string[] {
  const fields = Object.entries(FLAG_FIELDS).filter(
    ([flag]) => flags[flag as keyof typeof FLAG_FIELDS] !== undefined,
  );
  return [...fields.map(([, path]) => path), ...(flags.set ?? []).map((text) => text.split('=')[0])];
}

/** The recipe with flags laid over it; the recipe itself stays as it is. `--set` comes last and wins. */
export function overlayFlags(recipe: Readonly<Fields>, flags: RecipeFlags): Fields {
  let result: Fields = { ...recipe };
  for (const [flag, path] of Object.entries(FLAG_FIELDS)) {
    const value = flags[flag as keyof typeof FLAG_FIELDS];
    if (value !== undefined) result = setField(result, path.split('.'), value);
  }
  for (const assignment of flags.set ?? []) result = setField(result, ...parseAssignment(assignment));
  return result;
}

/** `key.path=value`; the value is read as YAML, so numbers, true, [lists] and {objects} are what they look like. */
function parseAssignment(text: string): [path: string[], value: unknown] {
  const at = text.indexOf('=');
  if (at < 1)
    throw new RankineError(
      'cli/set',
      `--set ${text} is no assignment.`,
      'Write --set key.path=value, e.g. --set adapter.dropout=0.1.',
    );
  try {
    return [text.slice(0, at).split('.'), parse(text.slice(at + 1))];
  } catch (cause) {
    throw new RankineError(
      'cli/set',
      `--set ${text}: the value is no YAML (${(cause as Error).message}).`,
      'Put texts with special characters in quotes.',
      { cause },
    );
  }
}

function setField(recipe: Readonly<Fields>, path: readonly string[], value: unknown): Fields {
  const [field, ...rest] = path;
  const { [RIVALS[field] ?? '']: _, ...kept } = recipe;
  if (rest.length === 0) return { ...kept, [field]: value };
  const old = unfold(field, recipe[field]);
  const chooses = CHOICES.has(path.join('.')) && old[rest[0]] !== value;
  return { ...kept, [field]: chooses ? { [rest[0]]: value } : setIn(old, rest, value) };
}

function setIn(object: Readonly<Fields>, [key, ...rest]: readonly string[], value: unknown): Fields {
  if (rest.length === 0) return { ...object, [key]: value };
  const inner = object[key];
  return { ...object, [key]: setIn(isFields(inner) ? inner : {}, rest, value) };
}

/** A field that is set in part, as an object: its word, or that of its default, stands for the main key. */
function unfold(field: string, value: unknown): Fields {
  if (isFields(value)) return value;
  const word = value ?? DEFAULT_WORDS[field];
  return word !== undefined && field in MAIN_KEYS ? { [MAIN_KEYS[field]]: word } : {};
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
