import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { parseRecipe, recipeSchema } from './recipe.ts';

const root = new URL('../../', import.meta.url).pathname;
const least = { model: 'm', data: 'd.jsonl' };

it('fills in every default', () => {
  expect(parseRecipe(least)).toEqual({
    model: { path: 'm', init: 'pretrained' },
    data: { train: 'd.jsonl', packing: 'none', stream: false },
    adapter: {
      method: 'lora',
      options: expect.objectContaining({ rank: 8, targets: 'all-linear', dropout: 0 }),
    },
    optimizer: { method: 'adamw', options: { beta1: 0.9, beta2: 0.999, weightDecay: 0, form: 'torch' } },
    schedule: { kind: 'linear', warmup: 0.03, final: 0 },
    rate: 2e-4,
    batch: 8,
    accumulate: 1,
    clip: 1,
    seed: 0,
    execution: 'auto',
    keep: 2,
    logEvery: 10,
    device: 'cpu',
    output: 'runs/latest',
  });
});

it('takes a lower rate by default where every weight is trained', () => {
  expect(parseRecipe({ ...least, adapter: 'full' })).toMatchObject({
    rate: 2e-5,
    adapter: { method: 'full', options: {} },
  });
});

it.each<[string, Record<string, unknown>, Record<string, unknown>]>([
  ['a method with options', { adapter: { method: 'lora', rank: 4 } }, { adapter: { options: { rank: 4 } } }],
  ['a schedule by name', { schedule: 'cosine' }, { schedule: { kind: 'cosine', warmup: 0, final: 0 } }],
  ['steps alone', { steps: 7 }, { steps: 7 }],
  ['a share of an epoch', { epochs: 0.5 }, { epochs: 0.5 }],
  [
    'modules alone',
    { adapter: { method: 'full', modules: ['score'] } },
    { rate: 2e-5, adapter: { method: 'full', options: { modules: ['score'] } } },
  ],
  ['classes by name', { model: { path: 'm', labels: ['no', 'yes'] } }, { model: { labels: ['no', 'yes'] } }],
  [
    'a described data set',
    { data: { train: { path: ['a', 'b'], format: 'csv', limit: 5 }, holdOut: 0.1 } },
    { data: { train: { path: ['a', 'b'], format: 'csv', limit: 5 }, holdOut: 0.1 } },
  ],
])('accepts %s', (_, fields, expected) => {
  expect(parseRecipe({ ...least, ...fields })).toMatchObject(expected);
});

interface Bad {
  readonly fields: Record<string, unknown>;
  readonly code: string;
  /** In the message, remedy included. */
  readonly says: readonly string[];
}

const bad: Record<string, Bad> = {
  'an unknown key': {
    fields: { rates: 1 },
    code: 'recipe/unknown-key',
    says: ['"rates"', 'Did you mean "rate"'],
  },
  'an unknown key of the data': {
    fields: { data: { train: 'd', maxLenght: 4 } },
    code: 'recipe/unknown-key',
    says: ['"data.maxLenght"', 'Did you mean "maxLength"', 'holdOut'],
  },
  'an unknown key three levels down': {
    fields: { data: { train: { path: 'd', delimter: ';' } } },
    code: 'recipe/unknown-key',
    says: ['"data.train.delimter"', 'Did you mean "delimiter"'],
  },
  'an unknown key of the model': {
    fields: { model: { path: 'm', lables: 2 } },
    code: 'recipe/unknown-key',
    says: ['"model.lables"', 'Did you mean "labels"'],
  },
  'an unknown key of the schedule': {
    fields: { schedule: { kind: 'cosine', warmpu: 3 } },
    code: 'recipe/unknown-key',
    says: ['"schedule.warmpu"', 'Did you mean "warmup"'],
  },
  'an unknown schedule': {
    fields: { schedule: { kind: 'cosin' } },
    code: 'recipe/unknown-method',
    says: ['There is no schedule "cosin"', 'Did you mean "cosine"', 'inverse-sqrt'],
  },
  'an unknown schedule by name alone': {
    fields: { schedule: 'liner' },
    code: 'recipe/unknown-method',
    says: ['There is no schedule "liner"', 'Did you mean "linear"'],
  },
  'a schedule without its kind': {
    fields: { schedule: { warmup: 3 } },
    code: 'recipe/invalid',
    says: ['"schedule.kind"'],
  },
  'a schedule without what it needs': {
    fields: { schedule: 'warmup-stable-decay' },
    code: 'recipe/invalid',
    says: ['"schedule.decay"'],
  },
  'an unknown adapter': {
    fields: { adapter: 'lorra' },
    code: 'recipe/unknown-method',
    says: ['There is no adapter "lorra"', 'Did you mean "lora"', 'full'],
  },
  'an unknown optimizer': {
    fields: { optimizer: { method: 'adam' } },
    code: 'recipe/unknown-method',
    says: ['There is no optimizer "adam"', 'Did you mean "adamw"', 'sgd'],
  },
  'an unknown option of a method': {
    fields: { adapter: { method: 'lora', rnk: 4 } },
    code: 'recipe/unknown-key',
    says: ['"adapter.rnk"', 'Did you mean "rank"'],
  },
  'an unknown option of an optimizer': {
    fields: { optimizer: { method: 'adamw', weightdecay: 0.1 } },
    code: 'recipe/unknown-key',
    says: ['"optimizer.weightdecay"', 'Did you mean "weightDecay"'],
  },
  'an option for full training': {
    fields: { adapter: { method: 'full', rank: 4 } },
    code: 'recipe/unknown-key',
    says: ['"adapter.rank"', 'Known keys: modules'],
  },
  'an option of the wrong type': {
    fields: { adapter: { method: 'lora', rank: 'high' } },
    code: 'recipe/invalid',
    says: ['"adapter.rank"', 'number'],
  },
  'a field of the wrong type': {
    fields: { batch: '8' },
    code: 'recipe/invalid',
    says: ['"batch"', 'number'],
  },
  'a field that is too small': { fields: { batch: 0 }, code: 'recipe/invalid', says: ['"batch"'] },
  'a field of the data of the wrong type': {
    fields: { data: { train: 'd', maxLength: 'long' } },
    code: 'recipe/invalid',
    says: ['"data.maxLength"', 'number'],
  },
  'a value that is none of the known ones': {
    fields: { data: { train: 'd', packing: 'tight' } },
    code: 'recipe/invalid',
    says: ['"data.packing"', 'first-fit'],
  },
  'data without a training set': {
    fields: { data: { holdOut: 3 } },
    code: 'recipe/invalid',
    says: ['"data.train"'],
  },
  'a model that is no path': { fields: { model: 3 }, code: 'recipe/invalid', says: ['"model"'] },
  'steps and epochs': {
    fields: { steps: 3, epochs: 1 },
    code: 'recipe/invalid',
    says: ['both steps and epochs'],
  },
  'validation data and a share held out': {
    fields: { data: { train: 'd', validation: 'v', holdOut: 0.1 } },
    code: 'recipe/invalid',
    says: ['both data.validation and data.holdOut'],
  },
  'patience without anything to evaluate': {
    fields: { patience: 3 },
    code: 'recipe/invalid',
    says: ['patience', 'data.validation'],
  },
};

it.each(Object.entries(bad))('refuses %s', (_, { fields, code, says }) => {
  expect(() => parseRecipe({ ...least, ...fields })).toThrow(
    expect.objectContaining({
      code,
      message: expect.toSatisfy(
        (text: string) => says.every((part) => text.includes(part)),
        says.join(' … '),
      ),
    }),
  );
});

it.each<[string, unknown]>([
  ['nothing', undefined],
  ['a list', []],
  ['no model', { data: 'd' }],
])('refuses %s', (_, recipe) => {
  expect(() => parseRecipe(recipe)).toThrow(expect.objectContaining({ code: 'recipe/invalid' }));
});

/** Every property of a JSON Schema, however deep, with its path. */
function* properties(schema: unknown, at = ''): Generator<[string, Record<string, unknown>]> {
  if (typeof schema !== 'object' || schema === null) return;
  for (const [key, value] of Object.entries(schema)) {
    if (key !== 'properties') yield* properties(value, at);
    else
      for (const [name, property] of Object.entries(value as Record<string, Record<string, unknown>>)) {
        yield [`${at}${name}`, property];
        yield* properties(property, `${at}${name}.`);
      }
  }
}

it('has a JSON Schema that says what its fields mean and what stands in for them', () => {
  const schema = z.toJSONSchema(recipeSchema, { io: 'input' });
  const fields = new Map(properties(schema));
  for (const field of [
    'rate',
    'steps',
    'epochs',
    'batch',
    'accumulate',
    'clip',
    'execution',
    'patience',
    'keep',
  ])
    expect(fields.get(field)?.description, field).toEqual(expect.any(String));
  expect(fields.get('clip')?.default).toBe(1);
  expect(fields.get('data.packing')?.default).toBe('none');
  expect(fields.get('schedule.warmup')?.default).toBe(0);
});

it.each(['quickstart/adapt.yaml', 'quickstart/pretrain.yaml'])(
  '%s fits the JSON Schema and parses',
  (path) => {
    const recipe = parse(readFileSync(`${root}${path}`, 'utf8'));
    const published = z.fromJSONSchema(z.toJSONSchema(recipeSchema, { io: 'input' }) as never);
    expect(published.safeParse(recipe).success).toBe(true);
    expect(published.safeParse({ ...recipe, stpes: 3 }).success).toBe(false);
    expect(published.safeParse({ ...recipe, batch: 'many' }).success).toBe(false);
    expect(parseRecipe(recipe).output).toMatch(/^runs\//);
  },
);
