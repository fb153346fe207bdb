import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode } from 'fast-png';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { checkImages, classesIn, imageExamples, openImageDataset } from './image-dataset.ts';
import { loadPreprocessor } from './images.ts';

let folder = '';
const made: string[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rankine-image-rows-'));
  made.push(folder);
});
afterAll(() => Promise.all(made.map((path) => rm(path, { recursive: true }))));

/** Two by two pixels of one grey. */
function png(grey: number): Uint8Array {
  return encode({ width: 2, height: 2, channels: 1, depth: 8, data: new Uint8Array(4).fill(grey) });
}

async function put(path: string, content: Uint8Array | string): Promise<string> {
  const full = join(folder, path);
  await mkdir(join(full, '..'), { recursive: true });
  await writeFile(full, content);
  return full;
}

async function rowsOf(...args: Parameters<typeof openImageDataset>) {
  const rows = [];
  for await (const row of (await openImageDataset(...args)).rows()) rows.push(row);
  return rows;
}

describe('a folder of images', () => {
  it('gives each the name of its folder as label, in the order of the paths', async () => {
    for (const path of ['dog/2.png', 'cat/1.png', 'dog/10.JPG', 'notes.txt']) await put(path, png(1));
    const rows = await rowsOf(folder);
    expect(rows.map((row) => [row.where.slice(folder.length), row.fields.label])).toEqual([
      ['/cat/1.png', 'cat'],
      ['/dog/10.JPG', 'dog'],
      ['/dog/2.png', 'dog'],
    ]);
    expect(await classesIn(await openImageDataset(folder))).toEqual(['cat', 'dog']);
    expect((await rowsOf(join(folder, '*/*.png'))).map((row) => row.fields.label)).toEqual(['cat', 'dog']);
  });

  it('has splits above the classes, which may be called as they are', async () => {
    for (const path of ['train/test/1.png', 'train/b/1.png', 'validation/b/1.png']) await put(path, png(1));
    const labels = async (split: string) =>
      (await rowsOf({ path: folder, split })).map((row) => row.fields.label);
    expect(await labels('train')).toEqual(['b', 'test']);
    expect(await labels('val')).toEqual(['b']);
    await expect(openImageDataset({ path: folder, split: 'test' })).rejects.toMatchObject({
      code: 'data/no-split',
    });
  });

  it('refuses an image without a class, and a single class', async () => {
    await put('a/1.png', png(1));
    await expect(openImageDataset(folder).then(classesIn)).rejects.toMatchObject({ code: 'data/one-class' });
    const stray = await put('1.png', png(1));
    await expect(openImageDataset(folder)).rejects.toThrow(stray);
  });

  it('is read by its metadata where it has them', async () => {
    await put('train/x.png', png(40));
    await put('train/metadata.csv', 'file_name,label\nx.png,1\n');
    const [row] = await rowsOf(folder);
    expect(row.fields).toMatchObject({ image: join(folder, 'train/x.png'), label: '1' });
  });
});

describe('tables', () => {
  const prepared = async (
    dataset: Awaited<ReturnType<typeof openImageDataset>>,
    classes: string[] | number,
  ) => imageExamples(dataset, classes, await loadPreprocessor(undefined, { height: 3, width: 3 }));

  it('name paths relative to themselves, decoded when they are asked for', async () => {
    await put('photos/white.png', png(255));
    const table = await put(
      'rows.jsonl',
      '{"photo":"photos/white.png","label":"b"}\n{"photo":"no.png","label":"a"}\n',
    );
    const dataset = await openImageDataset({ path: table, columns: { image: 'photo' } });
    const examples = await prepared(dataset, ['a', 'b']);
    expect(await examples.at(0)).toEqual([
      { height: 3, width: 3, pixels: new Float32Array(27).fill(1), label: 1 },
    ]);
    await expect(examples.at(1)).rejects.toThrow(join(folder, 'no.png'));
    await expect(checkImages(dataset, ['a', 'b'])).rejects.toMatchObject({
      code: 'data/no-file',
      message: expect.stringMatching(/rows\.jsonl, line 2.*no\.png/),
    });
  });

  it('hold the bytes, as the hub’s Parquet files do', async () => {
    const path = new URL('../../tests/golden/data/images.parquet', import.meta.url).pathname;
    const dataset = await openImageDataset(path);
    expect(await classesIn(dataset)).toBe(3);
    const examples = await prepared(dataset, 3);
    const values = [];
    for (let i = 0; i < examples.length; i++) {
      const [{ pixels, label }] = await examples.at(i);
      values.push([label, Math.round(pixels[0] * 100)]);
    }
    expect(values).toEqual([
      [0, -100],
      [2, 100],
    ]);
  });

  it('name labels outside the classes and images that cannot be read', async () => {
    const broken = await put('broken.jpg', Buffer.from([0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]));
    const table = await put('rows.csv', 'image,label\nbroken.jpg,0\nbroken.jpg,3\n');
    const dataset = await openImageDataset(table);
    await expect(checkImages(dataset, 3)).rejects.toThrow(/rows\.csv, line 3.*label "3".*3 classes/);
    const examples = await prepared(dataset, 4);
    await expect(examples.at(0)).rejects.toMatchObject({
      code: 'data/broken-image',
      message: expect.stringContaining(broken),
    });
    const other = await openImageDataset(await put('other.jsonl', '{"image":3,"label":0}\n'));
    await expect(other.at(0)).rejects.toMatchObject({ code: 'data/wrong-field' });
  });

  it('have as classes the sorted names, or how many numbers', async () => {
    const classes = async (...labels: unknown[]) => {
      const lines = labels.map((label) => `${JSON.stringify({ image: 'x.png', label })}\n`);
      return classesIn(await openImageDataset(await put('c.jsonl', lines.join(''))));
    };
    expect(await classes('b', 'a', 'b')).toEqual(['a', 'b']);
    expect(await classes('1', '0')).toBe(2);
    expect(await classes('7', '9')).toEqual(['7', '9']);
    expect(await classes(0, 4)).toBe(5);
  });
});
