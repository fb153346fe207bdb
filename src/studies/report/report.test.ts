import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { madeStudy } from '../../../tests/study-result.ts';
import { parseRecipe } from '../../training/index.ts';
import { html, jsonFor } from './html.ts';
import { renderReport } from './index.ts';
import { recipeYaml, shellWord } from './recipe.ts';

describe('markup', () => {
  it('escapes what comes from outside, and only that', () => {
    const label = `<img src=x onerror="a('&')">`;
    expect(html`<b title="${label}">${label}${html`<i>`}${[1, 'a<']}${undefined}${false}</b>`.markup).toBe(
      '<b title="&lt;img src=x onerror=&quot;a(&#39;&amp;&#39;)&quot;&gt;">&lt;img src=x onerror=&quot;a(&#39;&amp;&#39;)&quot;&gt;<i>1a&lt;</b>',
    );
  });

  it('writes JSON that no script element ends at', () => {
    const value = { text: '</script><!-- & \u2028 "' };
    const { markup } = jsonFor(value);
    expect(markup).not.toMatch(/[<>&\u2028]/);
    expect(JSON.parse(markup)).toEqual(value);
  });
});

describe('the recipe of a row', () => {
  it('gives the same recipe again', () => {
    for (const { runs } of madeStudy({ seeds: 1 }).methods)
      for (const run of runs) expect(parseRecipe(parse(recipeYaml(run)))).toEqual(run.recipe);
  });

  it('quotes for the shell what needs it', () => {
    expect([shellWord('runs/a-1'), shellWord("it's $HOME")]).toEqual(['runs/a-1', "'it'\\''s $HOME'"]);
  });
});

describe('a report', () => {
  const result = madeStudy();
  const page = renderReport(result);

  it('says the verdict first', () => {
    expect(page.indexOf(result.verdict.headline)).toBeLessThan(page.indexOf('<h2>Quality against cost'));
    for (const caveat of result.caveats) expect(page).toContain(`<li>${caveat}</li>`);
  });

  it('holds its data, without the scores of single examples', () => {
    const [, json] = /<script type="application\/json" id="study-data">(.*?)<\/script>/s.exec(page) ?? [];
    const data = JSON.parse(json);
    expect(data.methods.map((m: { mean: number }) => m.mean)).toEqual(result.methods.map((m) => m.mean));
    expect(json).not.toContain('"examples"');
  });

  it('names nothing on the network', () => {
    expect(page).not.toMatch(/(?:src|href)="(?!#|data:)/);
    expect(page).not.toMatch(/@import|url\((?!#)/);
  });

  it('is the same file for the same result', () => {
    expect(renderReport(result)).toBe(page);
  });

  it('escapes a label in every place', () => {
    const label = `"><script>window.hit=1</script>`;
    const hostile = renderReport(madeStudy({ label, seeds: 2, question: label }));
    expect(hostile).not.toContain('<script>window.hit');
  });

  it('claims nothing of one seed', () => {
    const single = renderReport(madeStudy({ seeds: 1, tuned: false }));
    expect(single).not.toContain('cannot be told from the best</span>');
    expect(single).not.toContain('>recommended<');
    expect(single).toContain('best measured');
  });

  it('stands before any run has ended', () => {
    const empty = renderReport(madeStudy({ done: 0 }));
    expect(empty).toContain('No method has finished yet.');
    expect(empty).not.toContain('NaN');
    expect(empty).not.toContain('Infinity');
  });
});
