import { RankineError } from '../errors.ts';

/** `config.json` of a Hugging Face model, as it stands. */
export type ModelConfig = Readonly<Record<string, unknown>>;

/** Typed access to the fields of a configuration; null counts as missing, as in transformers. */
export interface Fields {
  /** A number. @throws RankineError `models/config` where it is missing without a fallback, or of another type */
  number(key: string, fallback?: number): number;
  /** A positive integer. @throws RankineError `models/config` */
  count(key: string, fallback?: number): number;
  /** @throws RankineError `models/config` where it is of another type */
  flag(key: string, fallback: boolean): boolean;
  /** @throws RankineError `models/config` where it is of another type */
  text(key: string, fallback: string): string;
  /** @throws RankineError `models/config` where it is something else than a list of strings */
  texts(key: string): readonly string[] | undefined;
}

/** @param name what messages call the object, default "configuration of this llama model" */
export function fields(
  config: ModelConfig,
  name = `configuration of this ${config.model_type} model`,
): Fields {
  const read = <T>(key: string, what: string, valid: (value: unknown) => value is T, fallback?: T): T => {
    const value = config[key] ?? fallback;
    if (valid(value)) return value;
    throw new RankineError(
      'models/config',
      value === undefined
        ? `The ${name} lacks "${key}".`
        : `In the ${name}, "${key}" is ${JSON.stringify(value)}, not ${what}.`,
      'Give the config.json that was published with the weights.',
    );
  };
  return {
    number: (key, fallback) => read(key, 'a number', isNumber, fallback),
    count: (key, fallback) => read(key, 'a positive integer', isCount, fallback),
    flag: (key, fallback) => read(key, 'true or false', (v) => typeof v === 'boolean', fallback),
    text: (key, fallback) => read(key, 'a string', (v) => typeof v === 'string', fallback),
    texts: (key) => (config[key] == null ? undefined : read(key, 'a list of strings', isTexts)),
  };
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((v) => typeof v === 'string');
}

/** Refuses what a configuration may ask for and this toolkit does not compute. @throws RankineError `models/unsupported` */
export function refuse(config: ModelConfig, key: string, when: boolean): void {
  if (!when) return;
  throw new RankineError(
    'models/unsupported',
    `This ${config.model_type} model has ${key} = ${JSON.stringify(config[key])}, which is not supported.`,
    'Use a checkpoint without it.',
  );
}

/** Number of classes: the entries of `id2label`, else `num_labels`, else 2, as in transformers. */
export function labelCount(config: ModelConfig): number {
  const names = config.id2label;
  if (names && typeof names === 'object') return Object.keys(names).length;
  return fields(config).count('num_labels', 2);
}

/**
 * The configuration with other classes: their names, or their number alone.
 * @throws RankineError `models/labels` where there is none, or a name stands twice
 */
export function withLabels(config: ModelConfig, labels: number | readonly string[]): ModelConfig {
  checkLabels(labels);
  if (typeof labels === 'number' && labels === labelCount(config)) return config;
  const names =
    typeof labels === 'number' ? Array.from({ length: labels }, (_, i) => `LABEL_${i}`) : [...labels];
  return {
    ...config,
    num_labels: names.length,
    id2label: Object.fromEntries(names.map((name, i) => [String(i), name])),
    label2id: Object.fromEntries(names.map((name, i) => [name, i])),
  };
}

function checkLabels(labels: number | readonly string[]): void {
  const count = typeof labels === 'number' ? labels : labels.length;
  const twice = typeof labels === 'number' ? undefined : labels.find((name, i) => labels.indexOf(name) !== i);
  if (isCount(count) && twice === undefined) return;
  throw new RankineError(
    'models/labels',
    twice === undefined ? `A classifier cannot have ${count} classes.` : `The class "${twice}" stands twice.`,
    'Give the number of classes, or their names.',
  );
}
