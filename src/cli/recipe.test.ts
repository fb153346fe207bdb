import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { recipeFrom } from './recipe.ts';
import { overlayFlags } from './recipe-flags.ts';
import { parseTargets } from './targets.ts';

const folder = mkdtempSync(join(tmpdir(), 'rankine-recipe-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const YAML = `model: base
data:
  train: a.jsonl
  lossOn: completions
adapter: { method: lora, rank: 4 }
epochs: 2
`;

describe('the three forms of a recipe', () => {
  const want = {
    model: { path: 'base', init: 'pretrained' },
    data: { train: 'a.jsonl', lossOn: 'completions' },
    adapter: { method: 'lora', options: { rank: 4, targets: 'all-linear' } },
    epochs: 2,
  };
  const value = { model: 'base', data: { train: 'a.jsonl', lossOn: 'completions' }, epochs: 2 };
  const adapter = { method: 'lora', rank: 4 };

  test('YAML', async () => expect(await recipeFrom(write('a.yaml', YAML), {})).toMatchObject(want));

  test('JSON, with a $schema for editors', async () => {
    const text = JSON.stringify({ $schema: 'dist/recipe.schema.json', ...value, adapter });
    expect(await recipeFrom(write('a.json', text), {})).toMatchObject(want);
  });

  test('TypeScript: an object or a function', async () => {
    const typed = `const rank: number = 2 * 2;\nconst recipe = { ...${JSON.stringify(value)}, adapter: { method: 'lora', rank } };\n`;
    const file = write('a.ts', `${typed}export default recipe;`);
    expect(await recipeFrom(file, {})).toMatchObject(want);
    const made = write('b.ts', `${typed}export default async () => recipe;`);
    expect(await recipeFrom(made, {})).toMatchObject(want);
  });

  test('or none, with a model and data', async () => {
    const flags = { model: 'base', data: ['a.jsonl', 'b.jsonl'] };
    expect((await recipeFrom(undefined, flags)).data.train).toEqual(['a.jsonl', 'b.jsonl']);
    await expect(recipeFrom(undefined, { model: 'base' })).rejects.toMatchObject({ code: 'cli/no-recipe' });
    const set = ['model.path=base', 'data.train=a.jsonl'];
    expect(await recipeFrom(undefined, { set })).toMatchObject({ model: { path: 'base' } });
    await expect(recipeFrom(undefined, { set: set.slice(0, 1) })).rejects.toThrow('nor --data');
  });
});

describe('a wrong recipe is refused with file and line', () => {
  const cases: [what: string, text: string, code: string, message: RegExp][] = [
    ['unknown key', `${YAML}stepz: 3\n`, 'recipe/unknown-key', /, line 7: .*"stepz".*Did you mean "steps"\?/],
    [
      'unknown key inside',
      YAML.replace('lossOn', 'loss_on'),
      'recipe/unknown-key',
      /, line 4: .*"data\.loss_on".*"lossOn"/,
    ],
    [
      'unknown option of a method',
      YAML.replace('rank:', 'rnk:'),
      'recipe/unknown-key',
      /, line 5: .*"adapter\.rnk".*"rank"/,
    ],
    ['wrong type', YAML.replace('epochs: 2', 'epochs: two'), 'recipe/invalid', /, line 6: .*"epochs"/],
    ['unknown method', YAML.replace('lora', 'lroa'), 'recipe/unknown-method', /, line 5: .*"lroa".*"lora"/],
    [
      'unknown schedule',
      `${YAML}schedule: { kind: cosnie }\n`,
      'recipe/unknown-method',
      /, line 7: .*"cosine"/,
    ],
    ['unknown schedule, one word', `${YAML}schedule: cosnie\n`, 'recipe/unknown-method', /, line 7: /],
    ['missing field', 'data: a.jsonl\n', 'recipe/invalid', /missing-field\.yaml: .*"model"/],
    ['broken YAML', 'model: base\ndata: [a\n', 'recipe/unreadable', /, line \d+: /],
    ['no object', '- a\n', 'recipe/not-an-object', /no object/],
    ['nothing', '', 'recipe/not-an-object', /empty/],
  ];
  test.each(cases)('%s', async (what, text, code, message) => {
    const file = write(`${what.replaceAll(' ', '-')}.yaml`, text);
    await expect(recipeFrom(file, {})).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    await expect(recipeFrom(file, {})).rejects.toThrow(file);
  });

  test('but not where a flag is to blame', async () => {
    const file = write('good.yaml', YAML);
    const failure = recipeFrom(file, { rank: -1 });
    await expect(failure).rejects.toMatchObject({ code: 'recipe/invalid' });
    await expect(failure).rejects.not.toThrow(file);
  });

  test('no file, or one that does not run', async () => {
    await expect(recipeFrom(join(folder, 'no.yaml'), {})).rejects.toMatchObject({ code: 'recipe/no-file' });
    await expect(recipeFrom(join(folder, 'no.ts'), {})).rejects.toMatchObject({ code: 'recipe/no-file' });
    const file = write('throws.ts', 'throw new Error("my own fault");');
    await expect(recipeFrom(file, {})).rejects.toThrow(/throws\.ts cannot be run: my own fault/);
  });
});

describe('flags over a recipe', () => {
  const recipe = { model: 'base', data: 'a.jsonl', adapter: { method: 'dora', rank: 4 }, epochs: 2 };

  test('change a part of what one word stands for', () => {
    expect(overlayFlags(recipe, { validation: 'v.jsonl', set: ['model.init=random'] })).toMatchObject({
      model: { path: 'base', init: 'random' },
      data: { train: 'a.jsonl', validation: 'v.jsonl' },
    });
    expect(overlayFlags({}, { rank: 2, set: ['schedule.warmup=0.1'] })).toEqual({
      adapter: { method: 'lora', rank: 2 },
      schedule: { kind: 'linear', warmup: 0.1 },
    });
  });

  test('another method drops the options of the old one, the same keeps them', () => {
    expect(overlayFlags(recipe, { adapter: 'pissa' }).adapter).toEqual({ method: 'pissa' });
    expect(overlayFlags(recipe, { adapter: 'dora', alpha: 3 }).adapter).toEqual({
      ...recipe.adapter,
      alpha: 3,
    });
  });

  test('steps take the place of epochs and the reverse', () => {
    expect(overlayFlags(recipe, { steps: 5 })).not.toHaveProperty('epochs');
    expect(overlayFlags({ steps: 5 }, { set: ['epochs=1'] })).toEqual({ epochs: 1 });
  });

  test('--set takes any field, its value as YAML, and wins', () => {
    const set = ['adapter.targets=[q_proj, v_proj]', 'adapter.dropout=0.1', 'data.stream=true', 'seed=7'];
    expect(overlayFlags(recipe, { seed: 1, set })).toMatchObject({
      adapter: { method: 'dora', rank: 4, targets: ['q_proj', 'v_proj'], dropout: 0.1 },
      data: { train: 'a.jsonl', stream: true },
      seed: 7,
    });
    for (const wrong of ['rank', '=3', 'a=[1'])
      expect(() => overlayFlags(recipe, { set: [wrong] })).toThrow(
        expect.objectContaining({ code: 'cli/set' }),
      );
  });

  test('leave the recipe as it was', () => {
    const before = structuredClone(recipe);
    overlayFlags(recipe, { rank: 9, steps: 1, model: 'other', set: ['adapter.dropout=0.5'] });
    expect(recipe).toEqual(before);
  });

  test('targets are names or one expression', () => {
    expect(parseTargets('q_proj,v_proj')).toEqual(['q_proj', 'v_proj']);
    expect(parseTargets('q_proj')).toEqual(['q_proj']);
    expect(parseTargets('all-linear')).toBe('all-linear');
    expect(parseTargets('.*\\.(q|v)_proj')).toBe('.*\\.(q|v)_proj');
  });
});
