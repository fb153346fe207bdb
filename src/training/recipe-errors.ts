import { z } from 'zod';
import { RankineError } from '../errors.ts';
import { nearestNames } from '../formats/index.ts';

/** The method of that name; throws `recipe/unknown-method` naming the nearest ones. */
export function byName<T extends { name: string }>(
  list: readonly T[],
  name: string,
  kind: string,
  others: readonly string[],
): T {
  const found = list.find((m) => m.name === name);
  if (found) return found;
  throw unknownMethod(kind, name, [...list.map((m) => m.name), ...others]);
}

function unknownMethod(kind: string, name: string, known: readonly string[]): RankineError {
  return new RankineError(
    'recipe/unknown-method',
    `There is no ${kind} "${name}".`,
    `${nearest(name, known)}Known: ${known.join(', ')}.`,
  );
}

function nearest(name: string, names: readonly string[]): string {
  const [best] = nearestNames(name, names);
  return best ? `Did you mean "${best}"? ` : '';
}

/**
 * The value with the schema's defaults filled in.
 *
 * @param at field of the recipe that the value stands in; empty: the recipe itself
 * @throws RankineError `recipe/unknown-key`, `recipe/unknown-method`, `recipe/invalid`
 */
export function checked<T extends z.ZodType>(schema: T, value: unknown, at: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw explain(schema, value, result.error.issues[0] as z.core.$ZodIssue, at);
}

function explain(schema: z.ZodType, value: unknown, issue: z.core.$ZodIssue, at: string): RankineError {
  const deepest = descend(issue);
  const given = deepest.path.reduce<unknown>((v, key) => (v as Record<PropertyKey, unknown>)?.[key], value);
  const field = [at, ...deepest.path.map(String)].filter(Boolean).join('.');
  if (deepest.code === 'unrecognized_keys') {
    const [key] = deepest.keys;
    const where = field ? `${field}.${key}` : key;
    const known = keysAt(schema, deepest.path);
    return new RankineError(
      'recipe/unknown-key',
      `The recipe has an unknown key "${where}".`,
      known.length > 0 ? `${nearest(key, known)}Known keys: ${known.join(', ')}.` : 'It takes no options.',
    );
  }
  const kinds = deepest.code === 'invalid_union' ? kindsAt(schema, deepest.path) : [];
  if (kinds.length > 0 && typeof given === 'string') {
    const parent = [at, ...deepest.path.slice(0, -1).map(String)].filter(Boolean).join('.');
    return unknownMethod(parent, given, kinds);
  }
  return new RankineError(
    'recipe/invalid',
    `The recipe's "${field || 'root'}" is wrong: ${deepest.message}.`,
  );
}

/** The issue of a union's most promising branch: the one that got deepest. */
function descend(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return issue;
  const candidates = issue.errors.flat().map((e) => descend(e as z.core.$ZodIssue));
  const objects = candidates.filter((e) => !(e.code === 'invalid_type' && e.path.length === 0));
  const [best] = objects.sort((a, b) => b.path.length - a.path.length);
  return best ? { ...best, path: [...issue.path, ...best.path] } : issue;
}

/** Keys of the object schema at a path, through unions and defaults. */
function keysAt(schema: z.ZodType, at: readonly PropertyKey[]): string[] {
  const shapes = objectShapes(schema);
  if (at.length === 0) return [...new Set(shapes.flatMap((s) => Object.keys(s)))];
  const [head, ...rest] = at;
  return [...new Set(shapes.flatMap((s) => (s[String(head)] ? keysAt(s[String(head)], rest) : [])))];
}

/** Names among which the field at a path chooses: literals of the alternatives that have it. */
function kindsAt(schema: z.ZodType, at: readonly PropertyKey[]): string[] {
  const [head, ...rest] = at;
  const fields = objectShapes(schema).flatMap((s) => (s[String(head)] ? [s[String(head)]] : []));
  if (rest.length > 0) return fields.flatMap((field) => kindsAt(field, rest));
  return fields.flatMap((field) => (field instanceof z.ZodLiteral ? [...field.values].map(String) : []));
}

function objectShapes(schema: z.ZodType): Record<string, z.ZodType>[] {
  if (schema instanceof z.ZodObject) return [schema.shape as Record<string, z.ZodType>];
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((o) => objectShapes(o as z.ZodType));
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional)
    return objectShapes(schema.unwrap() as z.ZodType);
  return [];
}
