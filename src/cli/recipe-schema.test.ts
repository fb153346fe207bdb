import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { forms } from '../adapters/index.ts';
import { optimizers } from '../optimizers/index.ts';
import { recipeJsonSchema } from './recipe-schema.ts';

const validator = z.fromJSONSchema(recipeJsonSchema() as never);
const valid = (recipe: unknown) => validator.safeParse(recipe).success;
const base = { model: 'm', data: 'd' };

test('it accepts what a recipe may say, defaults left out', () => {
  expect(valid(base)).toBe(true);
  expect(valid({ ...base, adapter: 'full', optimizer: { method: 'lora+', ratio: 8 } })).toBe(true);
  expect(valid({ ...base, adapter: { method: 'full', modules: ['classifier'] } })).toBe(true);
  expect(valid({ ...base, $schema: 'x', adapter: { method: 'lora', rank: 4, targets: ['q_proj'] } })).toBe(
    true,
  );
  for (const { name } of forms) expect(valid({ ...base, adapter: { method: name } })).toBe(true);
  for (const { name } of optimizers) expect(valid({ ...base, optimizer: name })).toBe(true);
});

test('and refuses unknown keys, unknown methods and options of another method', () => {
  expect(valid({ ...base, stepz: 1 })).toBe(false);
  expect(valid({ data: 'd' })).toBe(false);
  expect(valid({ ...base, adapter: 'lroa' })).toBe(false);
  expect(valid({ ...base, adapter: { method: 'lora', rnk: 4 } })).toBe(false);
  expect(valid({ ...base, adapter: { method: 'lora', rank: 'four' } })).toBe(false);
  expect(valid({ ...base, adapter: { method: 'full', rank: 4 } })).toBe(false);
  expect(valid({ ...base, optimizer: { method: 'lion', ratio: 8 } })).toBe(false);
});

test('the recipes of the quickstart follow it', () => {
  const folder = new URL('../../quickstart/', import.meta.url);
  const recipes = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
  expect(recipes).toContain('adapt.yaml');
  for (const name of recipes) {
    const result = validator.safeParse(parse(readFileSync(new URL(name, folder), 'utf8')));
    expect(result.error?.message, name).toBeUndefined();
  }
});

interface Node {
  description?: string;
  const?: string;
  properties?: Record<string, Node>;
  anyOf?: Node[];
  oneOf?: Node[];
}

/** Paths of all fields without a description; constants, which choose among alternatives, need none. */
function undescribed(node: Node, at: string): string[] {
  const inner = [...(node.anyOf ?? []), ...(node.oneOf ?? [])].flatMap((n) => undescribed(n, at));
  const own = Object.entries(node.properties ?? {}).flatMap(([name, field]) => {
    const path = `${at}.${name}`;
    const missing = field.description === undefined && field.const === undefined;
    return [...(missing ? [path] : []), ...undescribed(field, path)];
  });
  return [...inner, ...own];
}

test('every field is described, for editors and docs/recipe.md to show', () => {
  const schema = recipeJsonSchema() as Node;
  expect(schema.properties!.adapter.description).toBe('weight form, or full');
  expect(undescribed(schema, 'recipe')).toEqual([]);
});
