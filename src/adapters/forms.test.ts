import { describe, expect, it } from 'vitest';
import { weightFormContract } from './form.contract.ts';
import { layer, start } from './form-checks.contract.ts';
import { forms } from './index.ts';

/** Options beside the rank that change what a form computes. */
const VARIANTS: Readonly<Record<string, readonly Record<string, unknown>[]>> = {
  allora: [{}, { norm: 'output', squared: true }, { norm: 'matrix', power: 0.25 }],
  bone: [{ mode: 'bat' }, { mode: 'balance', rank: 5 }, { mode: 'mini', miniRank: 2 }],
  'lora-sb': [{ scale: 0.5 }, { direction: 'gradient' }],
  lora: [{}, { alpha: 3 }],
  'lora-ggpo': [{}, { noise: 'sdscripts', dropout: 0 }, { mode: 'mgpo' }],
};

for (const form of forms)
  for (const options of VARIANTS[form.name] ?? [{}]) weightFormContract(form, { rank: 4, ...options }, forms);

describe('forms', () => {
  it('have names of their own, a paper, a formula and advice', () => {
    expect(new Set(forms.map((f) => f.name)).size).toBe(forms.length);
    for (const { name, title, paper, trainable, whenToChoose } of forms)
      for (const text of [name, title, paper, trainable, whenToChoose]) expect(text, name).not.toBe('');
  });

  it.each(['lora', 'rslora', 'dora', 'pissa', 'adalora', 'lora-sb', 'lora-xs', 'bone'])(
    '%s refuses a rank above the smaller side',
    async (name) => {
      const form = forms.find((f) => f.name === name)!;
      await expect(start(form, layer(8, 12), { rank: 9 })).rejects.toMatchObject({ code: 'adapters/rank' });
    },
  );
});
