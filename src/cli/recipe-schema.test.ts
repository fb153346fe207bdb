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

test('fields are described, for editors to show', () => {
  const { properties } = recipeJsonSchema() as { properties: Record<string, { description?: string }> };
  expect(properties.adapter.description).toBe('weight form, or full');
  expect(properties.clip.description).toContain('norm');
});
