import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { rankine, succeed } from '../../tests/command-line.ts';
import { publishedFigures } from '../training/index.ts';
import { decimalBytes, memorySize } from './memory-size.ts';
import { publishedMarkdown } from './published-lines.ts';

const root = new URL('../../', import.meta.url).pathname;
const run = ['estimate', '--model', `${root}quickstart/base`, '--data', `${root}quickstart/data/train.jsonl`];

describe('estimate', () => {
  test('gives the peak by kind', async () => {
    const lines = (await succeed(...run)).split('\n');
    expect(lines[1]).toMatch(/^185K numbers train .* 4\.15M weights; in one graph, 8 rows of 48 tokens\.$/);
    expect(lines[2]).toMatch(/^ {2}weights +16\.6 MB +\d+\.\d %$/);
    expect(lines.at(-2)).toMatch(/^ {2}peak +\d+ MB +100\.0 %$/);
    const json = JSON.parse(await succeed(...run, '--json'));
    expect(json).toMatchObject({ weights: 16_608_256, execution: 'whole', rows: 8, length: 48 });
    const { weights, adapter, gradients, optimizer, activations, data, runtime, peak } = json;
    expect(weights + adapter + gradients + optimizer + activations + data + runtime).toBeCloseTo(peak);
  });

  test('--memory proposes flags that fit, and says where it fits already', async () => {
    // Packed rows are as long as they may be: the data are not read.
    const packed = [...run, '--set', 'data.packing=sequential', '--set', 'data.maxLength=64'];
    const { peak } = JSON.parse(await succeed(...packed, '--json'));
    const memory = ['--memory', String(Math.round(0.9 * peak))];
    const { fits, fitting } = JSON.parse(await succeed(...packed, ...memory, '--json'));
    expect(fits).toBe(false);
    const flags = Object.entries(fitting[0].changes).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const changed = JSON.parse(await succeed(...packed, ...flags, '--json'));
    expect(changed.peak).toBe(fitting[0].estimate.peak);
    expect(changed.peak).toBeLessThanOrEqual(0.9 * peak);
    const text = await succeed(...packed, ...memory);
    expect(text).toContain('What would, least loss first:');
    expect(text).toContain(flags.join(' '));
    expect(await succeed(...packed, '--memory', '8GB')).toContain('It fits into 8.00 GB.');
    expect(await succeed(...packed, '--memory', '1MB')).toContain(
      'Nothing that was tried fits into 1.00 MB.',
    );
  });

  test('a model that is nowhere is an error', async () => {
    const { code, error } = await rankine('estimate', '--model', '/nowhere/at all', '--data', 'x');
    expect(code).toBe(1);
    expect(error).toMatch(/^error \[formats\/not-found\]: .*\/nowhere\/at all/);
    expect((await rankine(...run, '--memory', 'much')).error).toContain('300MB');
  });

  test('--published shows what the papers say beside what is counted, as docs/memory.md does', async () => {
    const text = await succeed('estimate', '--published');
    expect(text).toContain('published: −65.5 %\n  counted:   −65.1 %: ');
    const figures = await publishedFigures();
    expect(JSON.parse(await succeed('estimate', '--published', '--json'))).toEqual(figures);
    expect(readFileSync(`${root}docs/memory.md`, 'utf8')).toContain(publishedMarkdown(figures));
  });
});

test('amounts of memory are read and written', () => {
  const read = ['300MB', '1.5 GiB', '24gb', '2e9', '7'].map(memorySize);
  expect(read).toEqual([3e8, 1.5 * 2 ** 30, 24e9, 2e9, 7]);
  for (const wrong of ['', 'MB', '-3GB', '3 apples', '0']) expect(() => memorySize(wrong)).toThrow('300MB');
  expect([0, 999, 1234, 45.6e6, 789e6, 1.2e15].map(decimalBytes)).toEqual([
    '0 B',
    '999 B',
    '1.23 kB',
    '45.6 MB',
    '789 MB',
    '1200 TB',
  ]);
});
