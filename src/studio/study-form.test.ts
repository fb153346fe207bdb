import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseStudy } from '../studies/index.ts';
import { checkForm, type FormValues } from './study-form.ts';

const values: FormValues = {
  name: 'dates',
  model: 'quickstart/base',
  train: 'quickstart/data/train.jsonl',
  test: 'quickstart/data/test.jsonl',
  methods: ['lora', 'dora'],
  steps: '20',
  seeds: '2',
  question: '',
};

function errorsOf(change: FormValues) {
  return checkForm({ ...values, ...change }).errors ?? {};
}

describe('the form', () => {
  it('makes a file that says the same study', () => {
    const checked = checkForm({
      ...values,
      holdOut: '0.1',
      testLimit: '50',
      budgetKind: 'memory',
      budget: '300 MB',
      trials: '4',
      search: 'halving',
      rateLow: '1e-4',
      rateHigh: '1e-2',
      more: 'schedule: cosine\ndata: { packing: first-fit }',
    });
    if (checked.errors) throw new Error(JSON.stringify(checked.errors));
    expect(parseStudy(parse(checked.yaml))).toEqual(checked.study);
    expect(checked.study).toMatchObject({
      seeds: [1, 2],
      budget: { memory: 300e6 },
      tuning: { trials: 4, search: 'halving', rate: [1e-4, 1e-2] },
      test: { path: values.test, limit: 50 },
      recipe: {
        steps: 20,
        schedule: 'cosine',
        data: { train: values.train, holdOut: 0.1, packing: 'first-fit' },
      },
    });
  });

  it('says everything that is missing at its field', () => {
    const { errors } = checkForm({});
    expect(Object.keys(errors ?? {}).sort()).toEqual(['methods', 'model', 'name', 'test', 'train']);
  });

  it.each([
    ['steps', { steps: 'many' }, 'not a number'],
    ['steps', { steps: '-1' }, /expected number to be >0/],
    ['name', { name: 'a/b' }, /letters, digits/],
    ['testLimit', { testLimit: 'few' }, 'not a number'],
    ['testLimit', { testLimit: '0' }, /expected number to be >0/],
    ['test', { test: '', testLimit: '5' }, /name the test data/],
    ['search', { holdOut: '0.1', trials: '4', search: 'grid' }, /random/],
    ['budget', { budgetKind: 'trainable', budget: 'much' }, 'not a number'],
    ['budget', { budgetKind: 'memory', budget: '3 bananas' }, /like 300MB/],
    ['budget', { budgetKind: 'time', budget: '' }, /how much/],
    ['seeds', { seeds: '0' }, /./],
    ['methods', { methods: ['lorra'] }, /Did you mean "lora"/],
    ['holdOut', { trials: '4' }, /no validation data/],
    ['rateLow', { holdOut: '0.1', trials: '4', rateLow: 'x', rateHigh: '1' }, /./],
    ['more', { more: 'a: [' }, /not YAML/],
    ['more', { more: 'just words' }, /fields of a recipe/],
    ['more', { more: 'seed: 3' }, /the study itself chooses/],
    ['more', { more: 'stepz: 3' }, /stepz/],
    ['more', { more: 'schedule: { kind: cosine, warmup: -1 }' }, /schedule/],
  ] as const)('%s is told what is wrong: %j', (field, change, message) => {
    expect(errorsOf(change)[field]).toMatch(message);
  });
});
