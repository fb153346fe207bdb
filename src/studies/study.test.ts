import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TASK_DATA, writeTinyModel } from '../../tests/tiny-model.ts';
import { forms } from '../adapters/index.ts';
import { optimizers } from '../optimizers/index.ts';
import { planStudy } from './budget.ts';
import { runRecipe, studyMethods } from './methods.ts';
import { parseStudy } from './study.ts';
import { rungs, trialSettings } from './tuning.ts';

const base = {
  name: 's',
  recipe: { model: 'm', data: { train: 'd', holdOut: 8 } },
  methods: ['lora'],
  test: 't',
};
const study = (changes: Record<string, unknown>) => parseStudy({ ...base, ...changes });

describe('a study file', () => {
  test('is filled in', () => {
    expect(study({ budget: { memory: '1.5 GiB' } })).toMatchObject({
      ...{ seeds: [1, 2, 3], metric: 'loss', parallel: 1, output: 'studies/s' },
      budget: { memory: 1.5 * 2 ** 30 },
    });
    expect(study({ seeds: [7, 9] }).seeds).toEqual([7, 9]);
  });

  test.each([
    [{ sedes: 2 }, 'recipe/unknown-key', '"seeds"'],
    [{ budget: { memory: 'lots' } }, 'recipe/invalid', 'budget.memory'],
    [{ budget: { steps: 9, tokens: 9 } }, 'recipe/invalid', 'one of'],
    [{ recipe: { ...base.recipe, seed: 3 } }, 'studies/reserved-field', '"seed"'],
    [{ recipe: { model: 'm', data: 'd' }, tuning: { trials: 2 } }, 'studies/no-validation', 'validation'],
  ])('is refused: %j', (changes, code, named) => {
    expect(() => study(changes)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(named) }),
    );
  });

  test('names methods that exist', () => {
    const refused = () => studyMethods(study({ methods: ['lroa'] }));
    expect(refused).toThrow(expect.objectContaining({ code: 'recipe/unknown-method' }));
    const ids = studyMethods(
      study({ methods: ['lora', 'lora', { label: 'wide one', adapter: { method: 'lora', rank: 64 } }] }),
    );
    expect(ids.map((m) => m.id)).toEqual(['lora', 'lora-2', 'wide-one']);
  });

  test('gives an optimizer what it moves: the form that the study names, else its own, else all weights', () => {
    const adapterOf = (adapter: unknown, name: string) => {
      const s = study({ recipe: { ...base.recipe, ...(adapter ? { adapter } : {}) }, methods: [name] });
      return runRecipe(s, studyMethods(s)[0], {}, { seed: 1, output: 'o' }).adapter;
    };
    expect(adapterOf(undefined, 'galore')).toMatchObject({ method: 'full' });
    expect(adapterOf(undefined, 'lora+')).toMatchObject({ method: 'lora' });
    expect(adapterOf({ targets: ['q_proj'] }, 'lora-pro')).toMatchObject({
      method: 'lora',
      options: { targets: ['q_proj'] },
    });
    expect(adapterOf('dora', 'lion')).toMatchObject({ method: 'dora' });
    const [both] = studyMethods(study({ methods: 'all optimizers' })).filter((m) => m.label === 'allora');
    expect(both.fields).toMatchObject({ optimizer: { method: 'allora' }, adapter: { method: 'lora' } });
  });

  test('lays a method over what all share, and settings over both', () => {
    const shared = { ...base.recipe, adapter: { method: 'lora', alpha: 3 }, rate: 1 };
    const s = study({ recipe: shared, methods: [{ label: 'x', adapter: { rank: 5 } }, 'dora'] });
    const [x, dora] = studyMethods(s).map((m) => runRecipe(s, m, { rate: 0.5 }, { seed: 4, output: 'o' }));
    expect(x).toMatchObject({
      adapter: { method: 'lora', options: { rank: 5, alpha: 3 } },
      rate: 0.5,
      seed: 4,
    });
    expect(dora.adapter).toMatchObject({ method: 'dora', options: { rank: 8 } });
  });
});

describe('tuning', () => {
  const tuning = {
    trials: 8,
    rate: [1e-4, 1e-1],
    space: { 'adapter.alpha': [1, 8], clip: { choices: [0, 1] } },
  };

  test('draws one rate from each part of the range, the same for every method and every time', () => {
    const trials = trialSettings(study({ tuning }));
    expect(trials).toEqual(trialSettings(study({ tuning, methods: ['dora'] })));
    const parts = trials.map((t) => Math.floor((8 * (Math.log10(t.rate as number) + 4)) / 3)).sort();
    expect(parts).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(trials.every((t) => Number.isInteger(t['adapter.alpha']))).toBe(true);
    expect(new Set(trials.map((t) => t.clip))).toEqual(new Set([0, 1]));
  });

  test('halving keeps the better half for twice the updates', () => {
    const halving = study({ tuning: { ...tuning, search: 'halving' } });
    expect(rungs(halving)).toEqual([
      { keep: 8, share: 0.25 },
      { keep: 4, share: 0.5 },
      { keep: 2, share: 1 },
    ]);
  });
});

describe('a budget', () => {
  const folder = mkdtempSync(join(tmpdir(), 'rankine-budget-'));
  const recipe = {
    model: join(folder, 'base'),
    data: { train: `${TASK_DATA}train.jsonl`, maxLength: 48 },
    batch: 2,
    steps: 4,
  };
  const plan = (changes: Record<string, unknown>) => {
    const s = study({ recipe, ...changes });
    return planStudy(s, studyMethods(s));
  };
  beforeAll(() => writeTinyModel(recipe.model));
  afterAll(() => rmSync(folder, { recursive: true }));

  test('of trained numbers is spent by every form, and never exceeded', async () => {
    const limit = 9000;
    const planned = await plan({ methods: 'all adapters', budget: { trainable: limit } });
    expect(planned).toHaveLength(forms.length + 1);
    for (const { row } of planned) {
      if (row.fits) expect(row.trainable, row.label).toBeLessThanOrEqual(limit);
      else expect(row.reason, row.label).toMatch(/\w/);
    }
    const trained = (label: string) => planned.find((p) => p.row.label === label)!.row;
    // Rank 8 of LoRA: 8,192; each further rank costs 1,024 more.
    expect(trained('lora')).toMatchObject({ trainable: 8192, chosen: { 'adapter.rank': 8 } });
    expect(trained('lora-xs').trainable).toBeGreaterThan(0);
    expect(trained('full')).toMatchObject({ fits: false, reason: expect.stringContaining('84,128') });
  }, 60_000);

  test('of memory leaves out what is predicted to take more; of tokens it sets the updates', async () => {
    await expect(plan({ budget: { memory: '10MB' } })).rejects.toMatchObject({
      code: 'studies/nothing-fits',
    });
    const { steps: _, ...open } = recipe;
    const [tokens] = await plan({ recipe: open, budget: { tokens: 48 * 2 * 7 + 5 } });
    expect(tokens.row).toMatchObject({ fits: true, steps: 7 });
  });

  describe('chooses among all that fit', () => {
    const names = [...forms.map((f) => f.name), 'full'];
    const rules = optimizers.map((o) => o.name).filter((name) => name !== 'adamw');
    const everything = [...names, ...rules.map((o) => (names.includes(o) ? `${o} optimizer` : o))];

    // What this model cannot have is told apart from what does not fit.
    const tooSmall = /rank \d+ exceeds|cannot project/;

    test('by memory', async () => {
      const all = await plan({ methods: 'all that fit', budget: { memory: '1 TB' } });
      expect(all.map((p) => p.row.label)).toEqual(everything);
      for (const { row } of all) if (!row.fits) expect(row.reason, row.label).toMatch(tooSmall);
      const peaks = all.flatMap((p) => (p.row.fits ? [p.row.predictedMemory as number] : []));
      const limit = Math.ceil(peaks.sort((a, b) => a - b)[Math.floor(peaks.length / 2)]);
      const half = await plan({ methods: 'all that fit', budget: { memory: limit } });
      for (const [i, { row }] of half.entries()) {
        const alone = all[i].row;
        expect(row.fits, row.label).toBe(alone.fits && (alone.predictedMemory as number) <= limit);
        if (alone.fits && !row.fits) expect(row.reason).toMatch(/^It is predicted to take \d+ MB\.$/);
      }
    }, 120_000);

    test('by trained numbers: forms of some size, no optimizer of all weights', async () => {
      const planned = await plan({ methods: 'all that fit', budget: { trainable: 9000 } });
      expect(planned.map((p) => p.row.label)).toEqual(everything);
      const moves = new Set(optimizers.flatMap((o) => (o.adapter ? [o.name, `${o.name} optimizer`] : [])));
      for (const { row } of planned) {
        if (names.includes(row.label) ? row.label !== 'full' : moves.has(row.label))
          expect(row.trainable, row.label).toBeLessThanOrEqual(9000);
        else if (!tooSmall.test(row.reason ?? ''))
          expect(row.reason, row.label).toBe('It trains 84,128 numbers at least.');
      }
    }, 120_000);

    test('and leaves out what is excluded', () => {
      const labels = (exclude: string[]) =>
        studyMethods(study({ methods: 'all that fit', exclude })).map((m) => m.label);
      const left = ['lora', 'lion', 'full'];
      expect(labels(left)).toEqual(everything.filter((name) => !left.includes(name)));
      expect(labels(['allora optimizer'])).toEqual(everything.filter((name) => name !== 'allora optimizer'));
    });
  });

  test('finds the rank of an optimizer that names no form: LoRA’s, as in a recipe', async () => {
    const [{ row }] = await plan({
      methods: [{ label: 'x', optimizer: 'lion' }],
      budget: { trainable: 5000 },
    });
    expect(row).toMatchObject({ fits: true, chosen: { 'adapter.rank': 4 }, trainable: 4096 });
  });

  test('that sets the updates clashes with none that the recipe sets', async () => {
    const [row] = await plan({ budget: { steps: 3 } });
    expect(row.row.steps).toBe(3);
  });
});
