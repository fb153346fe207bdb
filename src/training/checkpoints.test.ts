import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RankineError } from '../errors.ts';
import { lazyTensors } from '../formats/safetensors-write.ts';
import { array, type NDArray } from '../graph/array.ts';
import { type CheckpointContent, checkpointReader, openCheckpoints } from './checkpoints.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rankine-checkpoints-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function weights(step: number): Record<string, NDArray> {
  return {
    'layer.0.weight': array([step, Number.NaN, -0, 1e-42], [2, 2]),
    'layer.0.bias': array([step / 3], [1], 'float64'),
    count: array([step], [], 'int64'),
  };
}

function content(step: number, state: unknown = { step }): CheckpointContent {
  const moments = { m: array([step, 2 * step], [2]) };
  return { step, state, tensors: { weights: lazyTensors(weights(step)), optimizer: lazyTensors(moments) } };
}

async function flipByte(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  await file.write(Buffer.from([byte[0] ^ 1]), 0, 1, at);
  await file.close();
}

test('tensors and state come back bit by bit', async () => {
  const state = {
    data: { epoch: 2, position: 17 },
    best: Number.NaN,
    worst: -0,
    limit: -Infinity,
    rate: 0.1 + 0.2,
  };
  const store = await openCheckpoints(folder);
  await store.save(content(7, state));
  const found = (await store.loadLatest())!;
  expect(found.step).toBe(7);
  expect(found.state).toEqual(state);
  const read = await found.readAll('weights');
  for (const [name, expected] of Object.entries(weights(7))) {
    expect(read[name].shape).toEqual(expected.shape);
    expect(Buffer.from(read[name].data.buffer)).toEqual(Buffer.from(expected.data.buffer));
  }
  expect((await found.readAll('optimizer')).m.data).toEqual(new Float32Array([7, 14]));
  await expect(found.open('ema')).rejects.toMatchObject({ code: 'training/no-such-tensors' });
});

test('equal contents give equal bytes', async () => {
  const store = await openCheckpoints(folder);
  await store.save(content(1));
  const first = readdirSync(join(folder, 'step-1')).map((name) => readFileSync(join(folder, 'step-1', name)));
  await store.save(content(1));
  expect(
    readdirSync(join(folder, 'step-1')).map((name) => readFileSync(join(folder, 'step-1', name))),
  ).toEqual(first);
});

describe('what is kept', () => {
  test('the last K and the best', async () => {
    const store = await openCheckpoints(folder, { keepLast: 2 });
    for (const step of [10, 20, 30, 40, 50]) await store.save(content(step), { best: step === 20 });
    expect(await store.list()).toEqual([20, 40, 50]);
    expect((await store.loadBest())?.step).toBe(20);
    await store.save(content(60), { best: true });
    expect(await store.list()).toEqual([50, 60]);
    expect(readdirSync(folder).sort()).toEqual(['best.json', 'step-50', 'step-60']);
  });

  test('nothing beyond the step that a run goes on from', async () => {
    const store = await openCheckpoints(folder, { keepLast: 5 });
    for (const step of [9, 10, 11]) await store.save(content(step));
    await store.discardAfter(9);
    expect(await store.list()).toEqual([9]);
  });

  test('a damaged one counts for nothing', async () => {
    const store = await openCheckpoints(folder, { keepLast: 2 });
    for (const step of [1, 2, 3]) await store.save(content(step));
    truncateSync(join(folder, 'step-3', 'weights.safetensors'), 20);
    await store.save(content(4));
    expect(await store.list()).toEqual([2, 4]);
  });
});

describe('damage is found and passed over', () => {
  const damages: [string, string, (path: string) => unknown][] = [
    ['a flipped bit', 'other bytes', (path) => flipByte(join(path, 'weights.safetensors'), 260)],
    ['a truncated file', 'bytes instead of', (path) => truncateSync(join(path, 'optimizer.safetensors'), 9)],
    ['a missing file', 'state.json is missing', (path) => rmSync(join(path, 'state.json'))],
    ['no manifest', 'cannot be read', (path) => rmSync(join(path, 'manifest.json'))],
    ['half a manifest', 'not JSON', (path) => truncateSync(join(path, 'manifest.json'), 30)],
    [
      'another manifest',
      'not one of this format',
      (path) => writeFileSync(join(path, 'manifest.json'), '{}'),
    ],
  ];
  test.each(damages)('%s', async (_, message, damage) => {
    const warnings: RankineError[] = [];
    const store = await openCheckpoints(folder, { onWarning: (error) => warnings.push(error) });
    await store.save(content(1));
    await store.save(content(2), { best: true });
    await damage(join(folder, 'step-2'));
    expect((await store.loadLatest())?.step).toBe(1);
    expect(warnings).toEqual([expect.objectContaining({ code: 'training/broken-checkpoint' })]);
    expect(warnings[0].message).toContain(message);
    expect(await store.loadBest()).toBeUndefined();
    await expect(store.load(2)).rejects.toMatchObject({ code: 'training/broken-checkpoint' });
  });

  test('a folder under another step’s name', async () => {
    const store = await openCheckpoints(folder);
    await store.save(content(1));
    renameSync(join(folder, 'step-1'), join(folder, 'step-5'));
    await expect(store.load(5)).rejects.toThrow('written as that of step 1');
  });
});

describe('after a kill', () => {
  test('half-written folders go, the only copy of a checkpoint being replaced gets its name back', async () => {
    const store = await openCheckpoints(folder);
    await store.save(content(3));
    renameSync(join(folder, 'step-3'), join(folder, '.tmp-step-3-aside'));
    mkdirSync(join(folder, '.tmp-step-4-half'));
    writeFileSync(join(folder, '.tmp-step-4-half', 'weights.safetensors'), 'half');
    const again = await openCheckpoints(folder);
    expect(readdirSync(folder)).toEqual(['step-3']);
    expect((await again.loadLatest())?.state).toEqual({ step: 3 });
  });

  test('kill -9 at any moment of a save leaves a whole latest checkpoint', async () => {
    let latest = 0;
    for (let round = 0; round < 8; round++) {
      const args = [
        '--import',
        'tsx',
        new URL('../../tests/training/checkpoint-loop.ts', import.meta.url).pathname,
        folder,
        String(latest + 1),
      ];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      await once(child.stdout, 'data');
      await new Promise((resolve) => setTimeout(resolve, 7 + 13 * round));
      child.kill('SIGKILL');
      await once(child, 'exit');
      const warnings: RankineError[] = [];
      const found = await (
        await openCheckpoints(folder, { onWarning: (e) => warnings.push(e) })
      ).loadLatest();
      expect(warnings).toEqual([]);
      expect(found!.step).toBeGreaterThan(latest);
      latest = found!.step;
      expect(found!.state).toEqual({ step: latest });
      for (const group of ['weights', 'optimizer'])
        for (const { data } of Object.values(await found!.readAll(group)))
          expect((data as Float32Array).every((value) => value === latest)).toBe(true);
    }
  });
});

test('a full disk: a clear error, earlier checkpoints untouched', async () => {
  const store = await openCheckpoints(folder);
  await store.save(content(1));
  const full = {
    name: 'huge',
    shape: [4],
    read: () => {
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    },
  };
  const failing = store.save({ step: 2, state: {}, tensors: { weights: [full] } });
  await expect(failing).rejects.toMatchObject({ code: 'training/disk-full' });
  await expect(failing).rejects.toThrow('step 2');
  expect(readdirSync(folder)).toEqual(['step-1']);
  expect((await store.loadLatest())?.step).toBe(1);
});

test('a reader makes nothing and finds nothing in an absent folder', async () => {
  const absent = join(folder, 'absent');
  expect(await checkpointReader(absent).loadLatest()).toBeUndefined();
  expect(existsSync(absent)).toBe(false);
});

test('keeping no checkpoint is refused', async () => {
  await expect(openCheckpoints(folder, { keepLast: 0 })).rejects.toMatchObject({ code: 'training/bad-keep' });
});
