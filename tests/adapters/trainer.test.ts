import { afterAll, describe, expect, it } from 'vitest';
import { type AdapterOptions, forms } from '../../src/adapters/index.ts';
import { adapt } from '../../src/training/adaptation.ts';
import { parseRecipe } from '../../src/training/recipe.ts';
import { estimateStatistics } from '../../src/training/statistics.ts';
import { trainables } from '../../src/training/trainables.ts';
import { createEngine, feedOf, goldenModel, trainOn } from './peft.ts';

const engine = await createEngine({ threads: 1 });
afterAll(() => engine.dispose());

const formOf = (name: string) => forms.find((form) => form.name === name)!;

describe('LoRA-SB in the trainer', () => {
  it('starts from the gradients that transformers computes, and never touches B and A', async () => {
    const golden = await goldenModel('llama-default');
    const form = formOf('lora-sb');
    const options = form.options.parse({ rank: 4, targets: ['q_proj', 'down_proj'] }) as AdapterOptions;
    const recipe = parseRecipe({ model: 'none', data: 'none' });
    const parts = { engine, model: golden.model, form, options, feed: feedOf(golden), recipe };
    const statistics = await estimateStatistics(parts, 3);
    const compared = golden.model.architecture.layers.filter(
      ({ name }) => golden.gradients[`${name}.weight`] && /q_proj|down_proj/.test(name),
    );
    expect(compared).toHaveLength(2);
    for (const spec of compared) {
      const theirs = golden.gradients[`${spec.name}.weight`].data;
      const ours = statistics(spec).gradient!.data;
      for (let i = 0; i < theirs.length; i++) expect(Number(ours[i])).toBeCloseTo(3 * Number(theirs[i]), 4);
    }
    const adaptation = await adapt(golden.model, form, options, { seed: 0, firstRate: 1e-3, statistics });
    const frozen = adaptation.layers.map(({ frozen: f }) => [f.A.data.slice(), f.B.data.slice()]);
    const { losses, trained } = await trainOn(golden, engine, adaptation, { steps: 100, rate: 1e-2 });
    expect(adaptation.layers.map(({ frozen: f }) => [f.A.data, f.B.data])).toEqual(frozen);
    expect(trained.map((t) => t.info.shape)).toEqual(new Array(4).fill([4, 4]));
    expect(losses[99]).toBeLessThan(losses[0] - 0.1);
  });
});

describe('modulesToSave', () => {
  const parameters = async (modulesToSave: string[]) => {
    const { model } = await goldenModel('gpt2-tied');
    const form = formOf('lora');
    const options = form.options.parse({ rank: 2, targets: ['c_attn'], modulesToSave }) as AdapterOptions;
    const adaptation = await adapt(model, form, options, { seed: 0, firstRate: 1e-3 });
    return trainables(model, adaptation)
      .map((t) => t.info.name)
      .filter((name) => !name.includes('#'));
  };

  it('trains a module and all that it contains', async () => {
    expect(await parameters(['ln_f'])).toEqual(['transformer.ln_f.weight', 'transformer.ln_f.bias']);
    expect(await parameters(['h.1.mlp'])).toEqual(
      ['c_fc', 'c_proj'].flatMap((m) => [`transformer.h.1.mlp.${m}.weight`, `transformer.h.1.mlp.${m}.bias`]),
    );
  });

  it('names what it could have been where it matches nothing', async () => {
    await expect(parameters(['score'])).rejects.toMatchObject({
      code: 'training/no-module',
      message: expect.stringContaining('ln_f'),
    });
  });
});
