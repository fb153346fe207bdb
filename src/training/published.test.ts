import { expect, it } from 'vitest';
import { stateBytes } from '../optimizers/index.ts';
import { modelConfig } from './base-model.ts';
import { type PublishedFigure, publishedFigures } from './published.ts';
import { parseRecipe } from './recipe.ts';
import { runShapes } from './run-shapes.ts';

const figures = await publishedFigures();
const figure = (words: string) => figures.find((f) => f.claim.includes(words)) as PublishedFigure;
const values = (words: string) => figure(words).readings.map((r) => r.value);

it('GaLore: −65.5 % of the optimizer’s state, counted as in its table', () => {
  expect(figure('65.5 %').published).toBe(0.655);
  expect(values('65.5 %')).toEqual([expect.closeTo(0.651, 3)]);
});

it('GaLore in 8 bits: −82.5 % only if bases take a byte too', () => {
  expect(values('82.5 %')).toEqual([expect.closeTo(0.789, 3), expect.closeTo(0.826, 3)]);
});

it('GaLore: 7B fits into 24 GB', () => {
  const [bytes] = values('24 GB');
  expect(bytes).toBeLessThan(24e9);
  expect(bytes).toBeGreaterThan(20e9);
});

it('SLTrain: −73 %, between indices of 8 and of 4 bytes', () => {
  expect(values('73 %')).toEqual([expect.closeTo(0.712, 3), expect.closeTo(0.736, 3)]);
});

it('GradNormLoRP in 8 bits: −89.5 % against Adam in float32', () => {
  expect(values('89.5 %')).toEqual([expect.closeTo(0.788, 3), expect.closeTo(0.894, 3)]);
});

it('the formula of GaLore’s state is what our optimizer holds, in twice the bytes', async () => {
  const model = { path: 'llama-7b', init: 'random' } as const;
  const optimizer = { method: 'galore', rank: 1024 };
  const recipe = parseRecipe({ model, data: 'd', adapter: 'full', optimizer });
  const { rules } = runShapes(recipe, await modelConfig(model));
  expect(stateBytes(rules)).toBe(2 * figure('65.5 %').readings[0].bytes);
});
