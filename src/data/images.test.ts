import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode } from 'fast-png';
import { afterAll, describe, expect, it } from 'vitest';
import { realData } from '../../tests/data.ts';
import { decodeImage, type Image, readCifar10, readIdx, readImage, readMnist } from './image-decode.ts';
import { centerCrop, type Filter, resize } from './image-resize.ts';
import { imageBatches, preprocess, readPreprocessor } from './images.ts';
import { fromExamples } from './sources.ts';

const golden = new URL('../../tests/golden/data/', import.meta.url).pathname;
const folder = await mkdtemp(join(tmpdir(), 'rankine-images-'));
afterAll(() => rm(folder, { recursive: true }));

function image([height, width, channels]: number[], pixels: number[]): Image {
  return { height, width, channels: channels as 1 | 3, data: Uint8Array.from(pixels) };
}

interface Resized {
  shape: number[];
  pixels: number[];
  to: [number, number];
  filter: Filter;
  expected: number[];
}

const { cases: resized }: { cases: Resized[] } = JSON.parse(
  await readFile(join(golden, 'resize.json'), 'utf8'),
);

it.each(resized)(
  'resizes $shape to $to, $filter, to the bytes of Pillow 11.3',
  ({ shape, pixels, to, filter, expected }) => {
    expect([...resize(image(shape, pixels), ...to, filter).data]).toEqual(expected);
  },
);

const jpegs: { name: string; jpeg: string; height: number; width: number; pixels: string }[] = JSON.parse(
  await readFile(join(golden, 'jpeg.json'), 'utf8'),
);

it.each(jpegs)('decodes JPEG to the bytes of Pillow 13.0, upright ($name)', (made) => {
  const image = decodeImage(Buffer.from(made.jpeg, 'base64'), made.name);
  expect([image.height, image.width, image.channels]).toEqual([made.height, made.width, 3]);
  expect(Buffer.from(image.data).equals(Buffer.from(made.pixels, 'base64'))).toBe(true);
});

it('refuses JPEG that is cut off, by name, and reads on after it', () => {
  const whole = Buffer.from(jpegs[0].jpeg, 'base64');
  for (const bytes of [whole.subarray(0, -20), whole.subarray(0, 100), Buffer.from([0xff, 0xd8, 0xff])])
    expect(() => decodeImage(bytes, 'a/cut.jpg')).toThrow(
      expect.objectContaining({ code: 'data/broken-image', message: expect.stringMatching(/^a\/cut\.jpg/) }),
    );
  expect(decodeImage(whole, 'whole').width).toBe(jpegs[0].width);
});

it('prepares an image as transformers’ ViT does', async () => {
  const { shape, pixels, config, expected } = JSON.parse(
    await readFile(join(golden, 'preprocess.json'), 'utf8'),
  );
  const made = preprocess(image(shape, pixels), readPreprocessor(config));
  expect([made.height, made.width]).toEqual([6, 6]);
  const error = Math.max(...expected.map((value: number, i: number) => Math.abs(value - made.pixels[i])));
  expect(error).toBeLessThan(1e-5);
});

it('resizes the shorter side and crops the middle', () => {
  const source = image(
    [4, 8, 1],
    Array.from({ length: 32 }, (_, i) => i),
  );
  const how = readPreprocessor({
    size: { shortest_edge: 4 },
    do_center_crop: true,
    crop_size: { height: 2, width: 2 },
    do_normalize: false,
    do_rescale: false,
  });
  const { pixels } = preprocess(source, how);
  expect([...pixels]).toEqual([11, 12, 19, 20, 11, 12, 19, 20, 11, 12, 19, 20]);
  expect([...centerCrop(source, 2, 4).data]).toEqual([10, 11, 12, 13, 18, 19, 20, 21]);
  expect(() => readPreprocessor({ size: { longest_edge: 3 } })).toThrowError(/size is/);
});

describe('files', () => {
  const pixels = Uint8Array.from({ length: 12 }, (_, i) => 20 * i);

  it('PPM with a comment, PNG with and without alpha', async () => {
    const ppm = join(folder, 'a.ppm');
    await writeFile(ppm, Buffer.concat([Buffer.from('P6\n# made here\n2 2\n255\n'), pixels]));
    expect(await readImage(ppm)).toEqual({ height: 2, width: 2, channels: 3, data: pixels });
    const png = join(folder, 'a.png');
    await writeFile(png, encode({ width: 2, height: 2, channels: 3, depth: 8, data: pixels }));
    expect(await readImage(png)).toEqual({ height: 2, width: 2, channels: 3, data: pixels });
    const indexed = encode({
      width: 3,
      height: 1,
      channels: 1,
      depth: 8,
      data: Uint8Array.of(1, 0, 1),
      palette: [
        [9, 8, 7],
        [1, 2, 3],
      ],
    });
    expect([...decodeImage(indexed, 'indexed').data]).toEqual([1, 2, 3, 9, 8, 7, 1, 2, 3]);
    await writeFile(png, encode({ width: 3, height: 1, channels: 4, depth: 8, data: pixels }));
    expect([...(await readImage(png)).data]).toEqual([0, 20, 40, 80, 100, 120, 160, 180, 200]);
  });

  it('are refused by name when cut off or of another kind', async () => {
    const path = join(folder, 'cut.ppm');
    await writeFile(path, Buffer.concat([Buffer.from('P6 2 2 255\n'), pixels.subarray(1)]));
    await expect(readImage(path)).rejects.toThrowError(/cut.ppm.*cut off/);
    await writeFile(path, 'GIF89a');
    await expect(readImage(path)).rejects.toMatchObject({ code: 'data/image-format' });
    await expect(readIdx(path)).rejects.toMatchObject({ code: 'data/broken-image' });
    await expect(readCifar10(path)).rejects.toMatchObject({ code: 'data/broken-image' });
  });

  it('the real MNIST, CIFAR-10, ImageNet and membrane files', async () => {
    const mnist = realData('vision/mnist.t10k-images-idx3-ubyte.gz');
    const labels = realData('vision/mnist.t10k-labels-idx1-ubyte.gz');
    const cifar = realData('vision/cifar10.test.0-50.bin.gz');
    const photo = realData('vision/imagenet/n02231487_1002.ppm.gz');
    const membrane = realData('vision/membrane/label_00.png');
    if (!mnist || !labels || !cifar || !photo || !membrane) return;
    const digits = await readMnist(mnist, labels);
    expect(digits.slice(0, 10).map((digit) => digit.label)).toEqual([7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    expect(digits[0].image.data.reduce((sum, byte) => sum + byte, 0)).toBe(18454);
    const small = await readCifar10(cifar);
    expect(small.slice(0, 12).map((item) => item.label)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    expect((await readImage(photo)).channels).toBe(3);
    const mask = await readImage(membrane);
    expect([mask.height, mask.width, mask.channels]).toEqual([512, 512, 1]);
  });
});

it('makes batches, and refuses different sizes in one', async () => {
  const example = (label: number, width = 1) => ({
    height: 1,
    width,
    pixels: new Float32Array(3 * width).fill(label),
    label,
  });
  const options = { batchSize: 2, seed: 0, shuffle: false };
  const made = [];
  for await (const batch of imageBatches(fromExamples([example(1), example(2), example(3)]), options))
    made.push(batch);
  expect(made.map((batch) => [...batch.labels])).toEqual([
    [1, 2],
    [3, -100],
  ]);
  expect([made[0].shape, [...made[0].pixels]]).toEqual([
    [2, 3, 1, 1],
    [1, 1, 1, 2, 2, 2],
  ]);
  const mixed = imageBatches(fromExamples([example(1), example(2, 2)]), options);
  await expect(mixed.next()).rejects.toMatchObject({ code: 'data/image-size' });
});
