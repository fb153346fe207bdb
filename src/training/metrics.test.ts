import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openMetrics, readMetrics, truncateMetrics } from './metrics.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rankine-metrics-'));
  path = join(folder, 'metrics.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Logs updates `from` to `to` as a trainer does: values that depend on the step alone, and the clock's. */
function train(from: number, to: number, clock: number): void {
  const log = openMetrics(path, () => clock);
  for (let step = from; step <= to; step++) {
    log.log(step, { 'train/loss': 1 / step, 'train/rate': step * 1e-4 });
    log.logMeasured(step, { 'pace/tokens': clock * step });
    if (step % 5 === 0) log.log(step, { 'eval/loss': Math.sqrt(step) });
  }
  log.close();
}

const untimed = (text: string) => text.split('\n').filter((line) => !line.includes('"time":'));

test('NaN and the infinities survive, every line is JSON', async () => {
  const log = openMetrics(path, () => 12.5);
  log.log(1, { a: Number.NaN, b: Infinity, c: -Infinity, d: 0.1 });
  log.logMeasured(1, { e: 3 });
  log.sync();
  log.close();
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  expect(JSON.parse(lines[0])).toEqual({ step: 1, name: 'a', value: 'NaN' });
  expect(await readMetrics(path)).toEqual([
    { step: 1, name: 'a', value: Number.NaN },
    { step: 1, name: 'b', value: Infinity },
    { step: 1, name: 'c', value: -Infinity },
    { step: 1, name: 'd', value: 0.1 },
    { step: 1, name: 'e', value: 3, time: 12.5 },
  ]);
});

test('a resumed file equals an uninterrupted one, except for what the clock said', async () => {
  train(1, 20, 1);
  const uninterrupted = readFileSync(path, 'utf8');
  rmSync(path);
  train(1, 13, 1);
  appendFileSync(path, '{"step":14,"name":"train/lo'); // killed in the middle of a line
  await truncateMetrics(path, 10);
  train(11, 20, 2);
  const resumed = readFileSync(path, 'utf8');
  expect(untimed(resumed)).toEqual(untimed(uninterrupted));
  expect(resumed).not.toBe(uninterrupted);
  expect((await readMetrics(path)).filter((r) => r.time).map((r) => r.step)).toEqual(
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
});

test('an absent file needs no cutting', async () => {
  await truncateMetrics(path, 3);
  expect(() => readFileSync(path)).toThrow('ENOENT');
});

test.each([
  'not json',
  '{"step":1,"name":"a"}',
  '{"step":"1","name":"a","value":1}',
  '[]',
  'null',
  '{"step":1,"name":"a","value":"x"}',
])('a broken line is named: %s', async (line) => {
  const text = `{"step":1,"name":"a","value":1}\n${line}\n`;
  writeFileSync(path, text);
  await expect(readMetrics(path)).rejects.toMatchObject({ code: 'training/broken-metrics' });
  await expect(truncateMetrics(path, 1)).rejects.toThrow(`Line 2 of ${path}`);
  expect(readFileSync(path, 'utf8')).toBe(text);
});
