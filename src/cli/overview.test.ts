import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { rankine, succeed } from '../../tests/command-line.ts';
import { forms } from '../adapters/index.ts';
import { optimizers } from '../optimizers/index.ts';

const VERBS = [
  'train',
  'compare',
  'studio',
  'replay',
  'evaluate',
  'generate',
  'merge',
  'export',
  'estimate',
  'info',
  'methods',
];

describe('help', () => {
  test.each(VERBS)('%s explains itself with examples', async (verb) => {
    const out = await succeed(verb, '--help');
    expect(out).toMatch(new RegExp(`^Usage: rankine ${verb} `));
    expect(out).toMatch(new RegExp(`^Examples:\n {2}rankine ${verb}\\b`, 'm'));
    expect(out).toContain('--json');
  });

  test('without arguments, every verb is named', async () => {
    const out = await succeed();
    for (const verb of VERBS) expect(out).toMatch(new RegExp(`^ {2}${verb} `, 'm'));
  });

  test('a slip of the pen is understood', async () => {
    const { code, error } = await rankine('trian');
    expect(code).toBe(1);
    expect(error).toMatch(/^error \[cli\/usage\]: unknown command 'trian'\n.*train/);
    expect((await rankine('train', '--ranks', '4')).error).toContain('--rank');
  });
});

test('methods --json lists every adapter and optimizer, and full', async () => {
  const methods = JSON.parse(await succeed('methods', '--json'));
  const names = methods.map((m: { name: string }) => m.name);
  expect(names).toEqual(['full', ...forms.map((f) => f.name), ...optimizers.map((o) => o.name)]);
  for (const method of methods) {
    const keys = ['name', 'kind', 'paper', 'title', 'trainable', 'whenToChoose'];
    expect(Object.keys(method)).toEqual(keys);
    for (const key of keys) expect(typeof method[key]).toBe('string');
  }
});

describe('info', () => {
  const base = new URL('../../quickstart/base', import.meta.url).pathname;

  test('counts parameters and names targets', async () => {
    const info = JSON.parse(await succeed('info', base, '--json'));
    // 2048·256 + 5 (2·256² + 2·128·256 + 3·256·688 + 2·256) + 256
    expect(info).toMatchObject({ type: 'llama', task: 'language-modelling', parameters: 4_152_064 });
    expect(info.layers).toContainEqual(
      expect.objectContaining({ target: 'down_proj', out: 256, in: 688, count: 5 }),
    );
  });

  test('a folder without a configuration is an error', async () => {
    const empty = mkdtempSync(join(tmpdir(), 'rankine-info-'));
    const { code, error } = await rankine('info', empty);
    rmSync(empty, { recursive: true });
    expect(code).toBe(1);
    expect(error).toMatch(/^error \[formats\/missing-file\].*config\.json/);
  });
});
