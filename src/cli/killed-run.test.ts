import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startRankine } from '../../tests/command-line.ts';
import { TASK_DATA, writeTinyModel } from '../../tests/tiny-model.ts';
import { type RecipeInput, train } from '../training/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'rankine-killed-'));
const at = (name: string) => join(folder, name);
/** Long enough to be killed on the way; dropout and shuffling, whose randomness must survive. */
const STEPS = 90;
const recipe = (output: string): RecipeInput => ({
  model: at('base'),
  data: { train: `${TASK_DATA}test.jsonl` },
  adapter: { method: 'lora', rank: 4, dropout: 0.1 },
  steps: STEPS,
  batch: 4,
  accumulate: 2,
  saveEvery: 7,
  threads: 1,
  output: at(output),
});
const asFlags = (output: string) => [
  ...['train', '--model', at('base'), '--data', `${TASK_DATA}test.jsonl`, '--rank', '4'],
  ...['--set', 'adapter.dropout=0.1', '--set', 'saveEvery=7', '--steps', String(STEPS), '--batch', '4'],
  ...['--accumulate', '2', '--threads', '1', '--output', at(output), '--json'],
];
const adapterOf = (output: string) => readFileSync(at(`${output}/adapter/adapter_model.safetensors`));

beforeAll(async () => {
  await writeTinyModel(at('base'));
  await train(recipe('whole'));
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true }));

async function resumed(output: string): Promise<number> {
  let from = Number.NaN;
  const onEvent = (event: { type: string; from?: number }) => {
    if (event.type === 'start') from = event.from!;
  };
  const result = await train(recipe(output), { mode: 'resume', onEvent });
  expect(result).toMatchObject({ steps: STEPS, finished: true });
  return from;
}

describe('a run in a process of its own', () => {
  test('killed at any moment, it resumes to the bytes of the run that was never killed', async () => {
    const { child, ended, until } = startRankine(...asFlags('killed'));
    await until('"type":"step","step":17');
    child.kill('SIGKILL');
    expect((await ended)[1]).toBe('SIGKILL');
    expect(existsSync(at('killed/adapter'))).toBe(false);
    const from = await resumed('killed');
    expect(from % 7).toBe(0);
    expect(from).toBeGreaterThanOrEqual(14);
    expect(adapterOf('killed').equals(adapterOf('whole'))).toBe(true);
  });

  test('interrupted, it saves and stops with code 130, and resumes to the same bytes', async () => {
    const { child, ended, until } = startRankine(...asFlags('interrupted'));
    await until('"type":"step","step":10');
    child.kill('SIGINT');
    expect((await ended)[0]).toBe(130);
    expect(await resumed('interrupted')).toBeGreaterThanOrEqual(10);
    expect(adapterOf('interrupted').equals(adapterOf('whole'))).toBe(true);
  });

  test('while it goes on, a second run in its folder is refused, and does no harm', async () => {
    const { child, ended, until } = startRankine(...asFlags('shared'));
    await until('"type":"step","step":3');
    // Held still, lest it finish first: it is alive and has its lock.
    child.kill('SIGSTOP');
    for (const mode of ['new', 'resume', 'overwrite'] as const)
      await expect(train(recipe('shared'), { mode })).rejects.toMatchObject({
        code: 'training/folder-locked',
      });
    child.kill('SIGCONT');
    await ended;
    expect(child.exitCode).toBe(0);
    expect(adapterOf('shared').equals(adapterOf('whole'))).toBe(true);
  });
});
