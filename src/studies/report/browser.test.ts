import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { browserPath, launchBrowser, noBrowser } from '../../../tests/browser.ts';
import { madeStudy } from '../../../tests/study-result.ts';
import { renderPicture, renderReport } from './index.ts';

describe.skipIf(!browserPath)(`a report in a browser${browserPath ? '' : ` (skipped: ${noBrowser})`}`, () => {
  let browser: Browser;
  let folder: string;
  const problems: string[] = [];

  beforeAll(async () => {
    browser = await launchBrowser();
    folder = await mkdtemp(join(tmpdir(), 'rankine-report-'));
    await writeFile(join(folder, 'report.html'), renderReport(madeStudy({ examples: 300 })));
    const label = `<img src=x onerror="window.hit=1">`;
    await writeFile(join(folder, 'hostile.html'), renderReport(madeStudy({ label, seeds: 2, examples: 60 })));
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function open(name: string, options: Parameters<Browser['newPage']>[0] = {}): Promise<Page> {
    const page = await browser.newPage(options);
    page.on('console', (m) => m.type() === 'error' && problems.push(m.text()));
    page.on('pageerror', (e) => problems.push(e.message));
    page.on('request', (r) => r.url().startsWith('file:') || problems.push(`asks for ${r.url()}`));
    await page.goto(pathToFileURL(join(folder, name)).href);
    return page;
  }

  const firstColumn = (page: Page) =>
    page.locator('table.results tbody:visible button.open span').allTextContents();

  it('sorts, both ways, with the keyboard too', async () => {
    const page = await open('report.html');
    const memory = page.locator('[data-sort="memory"]');
    await memory.click();
    const up = await firstColumn(page);
    await memory.focus();
    await page.keyboard.press('Enter');
    const down = await firstColumn(page);
    expect(up[0]).toMatch(/bone|lora-xs/);
    expect(down[0]).toBe('full');
    expect(down.length).toBe(24);
    expect(await page.locator('th[aria-sort="descending"]').count()).toBe(1);
    await page.close();
  });

  it('filters by name, settings, standing and failures', async () => {
    const page = await open('report.html');
    await page.getByPlaceholder('Find a method').fill('DORA');
    expect(await firstColumn(page)).toEqual(['dora', 'dora']);
    await page.locator('[name="treatment"]').selectOption('default');
    expect(await firstColumn(page)).toEqual(['dora']);
    await page.getByPlaceholder('Find a method').fill('');
    await page.getByText('without failures').click();
    expect(await firstColumn(page)).not.toContain('full');
    await page.getByPlaceholder('Find a method').fill('nothing such');
    expect(await page.getByText('No method matches.').isVisible()).toBe(true);
    await page.close();
  });

  it('opens a row to its recipe and copies it', async () => {
    const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] });
    const page = await context.newPage();
    await page.goto(pathToFileURL(join(folder, 'report.html')).href);
    await page.locator('button.open', { hasText: 'dora' }).first().click();
    const details = page.locator('tr.details:visible');
    expect(await details.locator('article').count()).toBe(3);
    await details.locator('summary').first().click();
    await details.getByLabel('Copy the recipe').first().click();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    expect(copied).toContain('method: dora');
    expect(copied).toBe(await details.locator('pre').first().textContent());
    await context.close();
  });

  it('switches costs and settings', async () => {
    const page = await open('report.html');
    await page.getByRole('radio', { name: 'trained numbers' }).check();
    expect(await page.locator('.tradeoff > svg:visible').getAttribute('data-cost')).toBe('trainable');
    const shown = () =>
      page.locator('.panel:visible').evaluateAll((l) => l.map((e) => e.getAttribute('data-treatment')));
    expect(new Set(await shown())).toEqual(new Set(['tuned']));
    await page.locator('#curves').getByRole('radio', { name: 'default' }).check();
    expect(new Set(await shown())).toEqual(new Set(['default']));
    expect(await page.locator('#memory [value="default"]').isChecked()).toBe(true);
    await page.close();
  });

  it('shows what a point is, under the pointer and with the keyboard', async () => {
    const page = await open('report.html');
    const mark = page.locator('.tradeoff > svg:visible .mark[data-method="vera"]').first();
    await mark.focus();
    expect(await page.locator('.tip').textContent()).toContain('trained numbers');
    await page.keyboard.press('Escape');
    expect(await page.locator('.tip').isVisible()).toBe(false);
    await page.close();
  });

  it('fits a phone: nothing sticks out, the narrow picture is drawn', async () => {
    const page = await open('report.html', { viewport: { width: 375, height: 700 } });
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(375);
    expect(await page.locator('.tradeoff > svg:visible').getAttribute('class')).toBe('narrow');
    await page.close();
  });

  it('draws a picture whose names keep apart from each other, from points and from the edges', async () => {
    const page = await browser.newPage();
    for (const seeds of [2, 3]) {
      await page.setContent(renderPicture(madeStudy({ seeds, examples: 300 })) ?? '');
      expect(await page.evaluate(touching)).toEqual([]);
    }
    await page.close();
  });

  it.each(['light', 'dark'] as const)('has readable colours in the %s', async (colorScheme) => {
    const page = await open('report.html', { colorScheme });
    const pairs = await page.evaluate(readPairs);
    for (const { name, ratio } of pairs) expect(ratio, name).toBeGreaterThanOrEqual(4.5);
    await page.locator('[data-theme-switch]').click();
    expect(await page.evaluate(() => document.documentElement.dataset.theme)).not.toBe(colorScheme);
    await page.close();
  });

  it('does not run what a label says', async () => {
    const page = await open('hostile.html');
    expect(await page.evaluate(() => 'hit' in window)).toBe(false);
    expect(await page.locator('table.results').textContent()).toContain('<img src=x onerror=');
    await page.close();
  });

  it('prints without controls and without tables cut off', async () => {
    const page = await open('report.html');
    await page.emulateMedia({ media: 'print' });
    expect(await page.locator('.filters').isVisible()).toBe(false);
    expect((await page.pdf({ format: 'A4' })).length).toBeGreaterThan(10_000);
    await page.close();
  });

  it('reports no error and asks the network for nothing', () => {
    expect(problems).toEqual([]);
  });
});

/** Texts of a picture that touch another, a point, or its edge, as this browser draws them. Runs in the page. */
function touching(): string[] {
  const box = (e: Element) => e.getBoundingClientRect();
  const over = (a: DOMRect, b: DOMRect) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  const texts = [...document.querySelectorAll('svg text')];
  const marks = [...document.querySelectorAll('svg .point')];
  const edge = box(document.querySelector('svg') as Element);
  return texts.flatMap((text, i) => {
    const own = box(text);
    const others = [...texts.slice(i + 1), ...marks].filter((e) => over(own, box(e)));
    const outside = own.left < edge.left || own.right > edge.right ? ['the edge'] : [];
    return [...others.map((e) => e.textContent || 'a point'), ...outside].map(
      (o) => `${text.textContent} / ${o}`,
    );
  });
}

/** Contrast of every text colour with what it stands on (WCAG 2.2, relative luminance). Runs in the page. */
function readPairs() {
  const probe = document.createElement('div');
  document.body.append(probe);
  const luminance = (name: string) => {
    probe.style.color = `var(--${name})`;
    const channels = (getComputedStyle(probe).color.match(/[\d.]+/g) as string[]).slice(0, 3).map((c) => {
      const s = Number(c) / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2];
  };
  const texts = {
    page: ['ink', 'soft', 'accent'],
    card: ['ink', 'soft', 'accent', 'warn'],
    faint: ['ink', 'soft', 'warn'],
  };
  const tinted = { 'accent-soft': ['accent'], 'warn-soft': ['ink', 'warn'] };
  return Object.entries({ ...texts, ...tinted }).flatMap(([ground, inks]) =>
    inks.map((ink) => {
      const [a, b] = [luminance(ground), luminance(ink)];
      return { name: `${ink} on ${ground}`, ratio: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) };
    }),
  );
}
