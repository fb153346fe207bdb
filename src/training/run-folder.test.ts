import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { processStart } from './process-start.ts';
import { openRunFolder, readRecipe, runPaths, writeRecipe } from './run-folder.ts';
import { collectVersions, writeVersions } from './versions.ts';

let folder: string;
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'rankine-run-')), 'run');
});
afterEach(() => rmSync(join(folder, '..'), { recursive: true, force: true }));

const lockPath = () => join(folder, 'run.lock');

function leaveLock(holder: Record<string, unknown>): void {
  mkdirSync(folder, { recursive: true });
  const whole = { pid: process.pid, host: hostname(), since: '2024-01-01T00:00:00Z', id: 'old', ...holder };
  writeFileSync(lockPath(), JSON.stringify(whole));
}

/** The id of a process that has just ended. */
async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  return child.pid!;
}

describe('modes', () => {
  test('new: refuses a folder with anything in it, and leaves it alone', async () => {
    mkdirSync(folder);
    writeFileSync(join(folder, 'thesis.tex'), '');
    await expect(openRunFolder(folder, 'new')).rejects.toMatchObject({ code: 'training/folder-not-empty' });
    await expect(openRunFolder(folder, 'new')).rejects.toThrow('thesis.tex');
    expect(readdirSync(folder)).toEqual(['thesis.tex']);
  });

  test('new: what a run leaves that failed before it began is no hindrance', async () => {
    await (await openRunFolder(folder, 'new')).release();
    const second = await openRunFolder(folder, 'new');
    writeFileSync(join(second.paths.tensorboard, 'events'), '');
    await second.release();
    await expect(openRunFolder(folder, 'new')).rejects.toMatchObject({ code: 'training/folder-not-empty' });
  });

  test('resume: needs a recipe there', async () => {
    await expect(openRunFolder(folder, 'resume')).rejects.toMatchObject({
      code: 'training/nothing-to-resume',
    });
    expect(existsSync(folder)).toBe(false);
    const run = await openRunFolder(folder, 'new');
    await writeRecipe(run.paths, { steps: 10, clip: Infinity });
    await run.release();
    const resumed = await openRunFolder(folder, 'resume');
    expect(await readRecipe(resumed.paths)).toEqual({ steps: 10, clip: Infinity });
    await resumed.release();
  });

  test('overwrite: removes the earlier run and nothing else', async () => {
    const { paths, release } = await openRunFolder(folder, 'new');
    await writeRecipe(paths, {});
    await writeVersions(paths.versions);
    mkdirSync(join(paths.checkpoints, 'step-1'), { recursive: true });
    writeFileSync(paths.metrics, 'x');
    writeFileSync(join(folder, 'notes.md'), '');
    await release();
    const again = await openRunFolder(folder, 'overwrite');
    await again.release();
    expect(readdirSync(folder).sort()).toEqual(['notes.md', 'tensorboard']);
  });

  test('a broken recipe is named', async () => {
    mkdirSync(folder);
    writeFileSync(runPaths(folder).recipe, '{');
    await expect(readRecipe(runPaths(folder))).rejects.toMatchObject({ code: 'training/broken-recipe' });
  });
});

describe('lock', () => {
  test('a second run in one folder is refused, whatever it asks for', async () => {
    const run = await openRunFolder(folder, 'new');
    await writeRecipe(run.paths, {});
    for (const mode of ['new', 'resume', 'overwrite'] as const) {
      await expect(openRunFolder(folder, mode)).rejects.toMatchObject({ code: 'training/folder-locked' });
      await expect(openRunFolder(folder, mode)).rejects.toThrow(`process ${process.pid} on ${hostname()}`);
    }
    expect(existsSync(run.paths.recipe)).toBe(true);
    await run.release();
    expect(existsSync(lockPath())).toBe(false);
  });

  test('of ten that start at once, one gets it', async () => {
    leaveLock({ pid: await deadPid() });
    const runs = await Promise.allSettled(Array.from({ length: 10 }, () => openRunFolder(folder, 'new')));
    const won = runs.filter((run) => run.status === 'fulfilled');
    expect(won).toHaveLength(1);
    await won[0].value.release();
    expect(readdirSync(folder)).toEqual(['tensorboard']);
  });

  test('the lock of a dead process is taken over', async () => {
    leaveLock({ pid: await deadPid() });
    const run = await openRunFolder(folder, 'new');
    expect(JSON.parse(readFileSync(lockPath(), 'utf8')).pid).toBe(process.pid);
    await run.release();
  });

  test.runIf(process.platform === 'linux')(
    'so is that of a process whose id another one has now',
    async () => {
      leaveLock({ processStart: `${processStart(process.pid)}0` });
      await (await openRunFolder(folder, 'new')).release();
    },
  );

  test('and one that a crash left empty', async () => {
    mkdirSync(folder);
    writeFileSync(lockPath(), '');
    await (await openRunFolder(folder, 'new')).release();
  });

  test('that of another host stands', async () => {
    leaveLock({ host: 'elsewhere', pid: await deadPid() });
    await expect(openRunFolder(folder, 'new')).rejects.toThrow('on elsewhere since 2024-01-01');
  });

  test('a lock that was taken from us is not released', async () => {
    const run = await openRunFolder(folder, 'new');
    leaveLock({ id: 'another' });
    await run.release();
    expect(existsSync(lockPath())).toBe(true);
  });
});

test('versions name what computes', () => {
  const versions = collectVersions();
  expect(versions.node).toBe(process.versions.node);
  expect(versions.rankine).toMatch(/^\d+\.\d+\.\d+/);
  expect(versions.packages['onnxruntime-node']).toMatch(/^\d+\.\d+/);
});
