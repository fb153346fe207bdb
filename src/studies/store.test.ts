import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Recipe } from '../training/index.ts';
import { openStore, type StoredRun } from './store.ts';

const folder = mkdtempSync(join(tmpdir(), 'rankine-store-'));
afterAll(() => rmSync(folder, { recursive: true }));

const run = (key: string): StoredRun => ({
  ...{ key, seed: 1, folder: 'f', trainable: 3, size: 4, validation: 0.5, modelHash: 'm', dataHash: 'd' },
  recipe: { adapter: { method: 'lora' }, optimizer: { method: 'adamw' }, rate: 1 } as Recipe,
  ...{ hardware: { processor: 'p', cores: 1, threads: 1 }, versions: {} },
  measured: { peakMemory: 5, wall: 6, processor: 7 },
  curves: [{ name: 'train/loss', steps: [1, 2], values: [0.3, 0.2] }],
});

test('what parallel runs write at once is all there, whoever opened the file', async () => {
  const file = join(folder, 'shared.duckdb');
  const [one, other] = [await openStore(file), await openStore(file)];
  const keys = Array.from({ length: 8 }, (_, i) => `k${i}`);
  await Promise.all(keys.map((key, i) => (i % 2 ? one : other).saveRun(run(key))));
  for (const key of keys) expect(await one.run(key)).toEqual(run(key));
  expect(await one.run('absent')).toBeUndefined();
});

test('scores come back number for number, and belong to what they were judged by', async () => {
  const store = await openStore(join(folder, 'scores.duckdb'));
  const examples = [0.1 + 0.2, 1e-17, -3, 1 / 3];
  const scored = {
    scores: [{ metric: 'loss', direction: 'min' as const, mean: 0.25, examples }],
    weightsHash: 'w',
  };
  await store.saveScores('k', 'test', scored);
  expect(await store.scores('k', 'test')).toEqual(scored);
  expect(await store.scores('k', 'another test')).toBeUndefined();
});

test('tables leave as Parquet', async () => {
  const store = await openStore(join(folder, 'shared.duckdb'));
  await store.exportParquet(join(folder, 'tables'));
  const names = ['curves', 'runs', 'scores', 'studies'].map((n) => `${n}.parquet`);
  expect(readdirSync(join(folder, 'tables')).sort()).toEqual(names);
});

test('a file that is no database is named', async () => {
  const store = await openStore(new URL(import.meta.url).pathname);
  await expect(store.run('k')).rejects.toMatchObject({ code: 'studies/store-broken' });
});

test('a file that another program holds is waited for', async () => {
  const file = join(folder, 'held.duckdb');
  const script = `import('@duckdb/node-api').then(async ({ DuckDBInstance }) => {
    globalThis.held = await DuckDBInstance.create(${JSON.stringify(file)});
    console.log('held');
    setTimeout(() => process.exit(), 1000);
  });`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: new URL('../..', import.meta.url).pathname,
  });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  const store = await openStore(file);
  await store.saveRun(run('k'));
  expect(await store.run('k')).toEqual(run('k'));
}, 20_000);
