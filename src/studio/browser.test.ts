import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { browserPath, launchBrowser, noBrowser } from '../../tests/browser.ts';
import type { Study, StudyResult } from '../studies/index.ts';
import { openStudio, type Studio } from './index.ts';
import { checkForm } from './study-form.ts';

const MAIN = new URL('../cli/main.ts', import.meta.url).pathname;
const AT = new URL('../../quickstart/', import.meta.url).pathname;

describe.skipIf(!browserPath)(
  `the studio in a browser${browserPath ? '' : ` (skipped: ${noBrowser})`}`,
  () => {
    let browser: Browser;
    let root: string;
    let studio: Studio;
    let page: Page;
    const problems: string[] = [];

    beforeAll(async () => {
      root = await mkdtemp(join(tmpdir(), 'rankine-studio-browser-'));
      for (const [name, rows] of [
        ['train', 60],
        ['test', 20],
      ] as const) {
        const lines = (await readFile(join(AT, 'data', `${name}.jsonl`), 'utf8')).split('\n').slice(0, rows);
        await writeFile(join(root, `${name}.jsonl`), `${lines.join('\n')}\n`);
      }
      const command = [process.execPath, '--import', 'tsx', MAIN];
      studio = await openStudio({ folders: [join(root, 'studies')], port: 0, command });
      browser = await launchBrowser();
      page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
      page.on('pageerror', (e) => problems.push(e.message));
      page.on('request', (r) => r.url().startsWith(studio.url) || problems.push(`asks for ${r.url()}`));
    }, 120_000);
    afterAll(async () => {
      await browser?.close();
      await studio?.close();
      await rm(root, { recursive: true, force: true });
    }, 120_000);

    it('opens, makes a study in the form, runs it, and shows its report without being loaded again', async () => {
      await page.goto(studio.url);
      await page.getByRole('link', { name: 'New study' }).click();
      await page.locator('#name').fill('first');
      await page.locator('#steps').fill('none');
      await page.getByRole('button', { name: 'See what fits' }).click();
      await expect.poll(() => page.locator('#steps-error').textContent()).toBe('not a number');
      expect(await page.locator('#steps').getAttribute('aria-invalid')).not.toBeNull();

      await page.locator('#model').fill(join(AT, 'base'));
      await page.locator('#train').fill(join(root, 'train.jsonl'));
      await page.locator('#test').fill(join(root, 'test.jsonl'));
      for (const [field, value] of [
        ['steps', '6'],
        ['batch', '4'],
        ['maxLength', '48'],
        ['seeds', '2'],
        ['budget', '60 000'],
        ['testLimit', '10'],
      ])
        await page.locator(`#${field}`).fill(value);
      await page.locator('#budgetKind').selectOption('trainable');
      await page.locator('[name="methods"][value="rslora"]').check();
      await page.getByRole('button', { name: 'See what fits' }).click();
      const start = page.getByRole('button', { name: 'Save and start 2 methods' });
      await start.waitFor({ timeout: 120_000 });
      expect(await page.locator('#plan-of-form').textContent()).toContain('rank');
      await start.click();

      await page.waitForURL('**/study/*');
      await page.evaluate(() => {
        (window as unknown as Record<string, unknown>).first = true;
      });
      await page.locator('#report .verdict h1').waitFor({ timeout: 240_000 });
      await page.locator('.control-head .state.done').waitFor({ timeout: 240_000 });
      await expect.poll(() => page.locator('table.results tbody').count(), { timeout: 20_000 }).toBe(2);
      await expect.poll(() => page.locator('.progress').count(), { timeout: 20_000 }).toBe(0);
      expect(await page.evaluate(() => 'first' in window)).toBe(true);

      const result: StudyResult = JSON.parse(
        await readFile(join(root, 'studies', 'first', 'result.json'), 'utf8'),
      );
      expect(result.progress).toEqual({ done: 4, total: 4 });
      expect(result.test).toEqual({ rows: 10, texts: true });
      expect(await page.locator('.verdict h1').textContent()).toBe(result.verdict.headline);
      expect(await page.locator('.panel:visible .curve').count()).toBeGreaterThan(3);
      await page.getByRole('link', { name: 'Studies' }).click();
      expect(await page.locator('.card').textContent()).toContain(result.verdict.headline);
      expect(problems).toEqual([]);
    }, 600_000);

    it('asks for fewer test rows and for successive halving, and tells what is wrong with them', async () => {
      await page.goto(`${studio.url}new`);
      await page.locator('#name').fill('halved');
      await page.locator('#testLimit').fill('few');
      const check = page.getByRole('button', { name: 'See what fits' });
      await check.click();
      await expect.poll(() => page.locator('#testLimit-error').textContent()).toBe('not a number');
      await page.locator('#testLimit').fill('20');
      await page.locator('#trials').fill('8');
      await page
        .locator('#search')
        .selectOption({ label: 'halving: all for a quarter, half of them for a half, the rest in full' });
      const [request] = await Promise.all([page.waitForRequest('**/check'), check.click()]);
      const { study } = checkForm(request.postDataJSON()) as { study?: Study };
      expect(study).toMatchObject({
        test: { path: 'quickstart/data/test.jsonl', limit: 20 },
        tuning: { trials: 8, search: 'halving' },
      });
    });
  },
);
