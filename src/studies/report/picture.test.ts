import { expect, it } from 'vitest';
import { madeStudy } from '../../../tests/study-result.ts';
import { renderPicture } from './picture.ts';

const result = madeStudy();
const picture = renderPicture(result) ?? '';

it('says what was asked, what came out, and what its axes are', () => {
  const texts = [...picture.matchAll(/<text[^>]*>([^<]*)/g)].map((m) => m[1]);
  expect(texts.join(' ')).toContain(result.question);
  expect(texts.join(' ')).toContain(result.verdict.headline);
  expect(texts).toContain('↑ accuracy on the test data (% of rows), higher is better');
  expect(texts).toContain('← peak memory (MB), less is better');
  expect(texts.join(' ')).toContain('3 seeds, 600 test rows, tuned settings;');
});

it('names every method once, and no default settings beside tuned ones', () => {
  const names = [...picture.matchAll(/<text class="name[^>]*>([^<]*)/g)].map((m) => m[1]);
  const tuned = result.methods.filter((m) => m.treatment === 'tuned').map((m) => m.label);
  expect(names.sort()).toEqual(tuned.sort());
});

it('has light and dark colours for all that it names, and loads nothing', () => {
  const [, light, dark] =
    /svg\{(.*?)\}@media \(prefers-color-scheme: dark\)\{svg\{(.*?)\}/.exec(picture) ?? [];
  const used = new Set([...picture.matchAll(/var\((--[\w-]+)\)/g)].map((m) => m[1]));
  expect(used.size).toBeGreaterThan(4);
  for (const name of used) for (const set of [light, dark]) expect(set).toContain(`${name}:#`);
  expect(picture).not.toMatch(/href=|url\(|@import/);
});

it('is XML whatever a label says', () => {
  const hostile = renderPicture(madeStudy({ label: '</svg>\u0007&<script>"\'', examples: 60 })) ?? '';
  expect(hostile).toContain('&lt;/svg&gt;&amp;&lt;script&gt;');
  expect(hostile).not.toContain('\u0007');
});

it('is not drawn before two methods have a score', () => {
  expect(renderPicture(madeStudy({ done: 3 }))).toBeUndefined();
});
