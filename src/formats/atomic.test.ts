import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { isTemporary, publishFolder, writeAtomic } from './atomic.ts';

// A disk that is full after `room` bytes: the real open, with handles whose writes fail as the system's would.
let room = Number.POSITIVE_INFINITY;
vi.mock('node:fs/promises', async (original) => {
  const fs = await original<typeof import('node:fs/promises')>();
  const open = async (...args: Parameters<typeof fs.open>) => {
    const handle = await fs.open(...args);
    const write = handle.write.bind(handle) as (b: Uint8Array, o: number, n: number) => Promise<unknown>;
    return Object.assign(handle, {
      write: (bytes: Uint8Array, offset: number, length: number) => {
        room -= length;
        if (room >= 0) return write(bytes, offset, length);
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      },
    });
  };
  return { ...fs, open };
});

let folder: string;
beforeEach(async () => {
  room = Number.POSITIVE_INFINITY;
  folder = await mkdtemp(join(tmpdir(), 'rankine-atomic-'));
});

describe('writeAtomic', () => {
  test('writes text, bytes and pieces, makes parent folders and leaves nothing else', async () => {
    const path = join(folder, 'deep/er/file');
    await writeAtomic(path, 'ä');
    expect(await readFile(path, 'utf8')).toBe('ä');
    await writeAtomic(path, new Uint8Array([1, 2]));
    const pieces = (async function* () {
      yield new Uint8Array([3]);
      yield new Uint8Array([4, 5]);
    })();
    await writeAtomic(path, pieces);
    expect([...(await readFile(path))]).toEqual([3, 4, 5]);
    expect(await readdir(join(folder, 'deep/er'))).toEqual(['file']);
  });

  test('a full disk is reported, the old file stays, no temporary file is left', async () => {
    const path = join(folder, 'file');
    await writeAtomic(path, 'old');
    room = 10;
    const pieces = [new Uint8Array(8), new Uint8Array(8)];
    await expect(writeAtomic(path, pieces)).rejects.toMatchObject({
      code: 'formats/disk-full',
      message: expect.stringContaining(path),
      remedy: expect.stringContaining('Free some space'),
    });
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['file']);
  });

  test('an error of the content passes unchanged and leaves the old file', async () => {
    const path = join(folder, 'file');
    await writeAtomic(path, 'old');
    const failing = (async function* () {
      yield new Uint8Array(3);
      throw new Error('from the source');
    })();
    await expect(writeAtomic(path, failing)).rejects.toThrow('from the source');
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['file']);
  });

  test('a path through a file is refused', async () => {
    await writeAtomic(join(folder, 'file'), 'x');
    await expect(writeAtomic(join(folder, 'file/inside'), 'y')).rejects.toMatchObject({
      code: 'formats/cannot-write',
    });
  });
});

describe('publishFolder', () => {
  test('appears complete; a failing one leaves nothing', async () => {
    const path = join(folder, 'model');
    await publishFolder(path, async (temporary) => {
      expect(isTemporary(temporary)).toBe(true);
      await mkdir(join(temporary, 'sub'));
      await writeFile(join(temporary, 'sub/a'), '1');
      expect((await readdir(folder)).every(isTemporary)).toBe(true);
    });
    expect(await readFile(join(path, 'sub/a'), 'utf8')).toBe('1');
    const failing = publishFolder(join(folder, 'other'), async () => {
      throw new Error('stop');
    });
    await expect(failing).rejects.toThrow('stop');
    expect(await readdir(folder)).toEqual(['model']);
  });

  test('an existing folder is refused, or replaced as a whole', async () => {
    const path = join(folder, 'model');
    const fill = (name: string) => (temporary: string) => writeFile(join(temporary, name), name);
    await publishFolder(path, fill('a'));
    await expect(publishFolder(path, fill('b'))).rejects.toMatchObject({ code: 'formats/folder-exists' });
    expect(await readdir(path)).toEqual(['a']);
    await publishFolder(path, fill('b'), { replace: true });
    expect(await readdir(path)).toEqual(['b']);
    expect(await readdir(folder)).toEqual(['model']);
  });

  test('a full disk while filling keeps the old folder', async () => {
    const path = join(folder, 'model');
    await publishFolder(path, (t) => writeAtomic(join(t, 'w'), 'old'));
    room = 2;
    const full = publishFolder(path, (t) => writeAtomic(join(t, 'w'), 'newer'), { replace: true });
    await expect(full).rejects.toMatchObject({ code: 'formats/disk-full' });
    expect(await readFile(join(path, 'w'), 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['model']);
  });
});
