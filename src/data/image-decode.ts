import { basename } from 'node:path';
import { decode as decodeJpeg } from '@cwasm/jpeg-turbo';
import { convertIndexedToRgb, decode as decodePng } from 'fast-png';
import { RankineError } from '../errors.ts';
import { exifOrientation, upright } from './image-orientation.ts';
import { unpack } from './records.ts';

/** An image of 8-bit samples, [height, width, channels] row-major; channels is 1 (grey) or 3 (red, green, blue). */
export interface Image {
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
  readonly data: Uint8Array;
}

/**
 * Reads a JPEG (to Pillow's bytes, turned as its EXIF data says), a PNG (alpha is dropped, 16 bits become 8) or a
 * binary PPM (P6) or PGM (P5), gzipped or not.
 * @throws RankineError `data/no-file`, `data/image-format`, `data/broken-image`, each with the path
 */
export async function readImage(path: string): Promise<Image> {
  const bytes = await unpack(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT') throw cause;
    throw new RankineError('data/no-file', `There is no image ${path}.`, 'Correct the path.', { cause });
  });
  return decodeImage(bytes, path);
}

/** The same from a file's bytes. @param name what errors call it */
export function decodeImage(bytes: Uint8Array, name: string): Image {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = buffer.toString('latin1', 0, 4);
  if (magic.startsWith('P6') || magic.startsWith('P5')) return netpbm(buffer, name);
  if (magic === '\x89PNG') return png(buffer, name);
  if (magic.startsWith('\xff\xd8')) return jpeg(buffer, name);
  throw new RankineError(
    'data/image-format',
    `${name} is neither JPEG, PNG nor binary PPM or PGM.`,
    'Convert it, e.g. to PNG.',
  );
}

function jpeg(bytes: Buffer, name: string): Image {
  let decoded: ReturnType<typeof decodeJpeg>;
  try {
    decoded = decodeJpeg(bytes);
  } catch (cause) {
    // Its library tells no more; it refuses CMYK in the same way as a broken header.
    throw broken(name, `it is cut off, broken or in CMYK (${(cause as Error).message})`);
  }
  const { width, height } = decoded;
  const data = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; to < data.length; from += 4, to += 3) {
    data[to] = decoded.data[from];
    data[to + 1] = decoded.data[from + 1];
    data[to + 2] = decoded.data[from + 2];
  }
  return upright({ height, width, channels: 3, data }, exifOrientation(bytes));
}

/** The header is four words (magic, width, height, largest sample) between white space and # comments. */
function netpbm(bytes: Buffer, name: string): Image {
  const header = /^(P[56])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s/.exec(
    bytes.subarray(0, 4096).toString('latin1'),
  );
  if (header?.[4] !== '255') throw broken(name, 'it has no header of an image with 8 bits a sample');
  const [width, height] = [Number(header[2]), Number(header[3])];
  const channels = header[1] === 'P6' ? 3 : 1;
  const data = new Uint8Array(bytes.subarray(header[0].length, header[0].length + width * height * channels));
  if (data.length < width * height * channels) throw broken(name, 'it is cut off');
  return { height, width, channels, data };
}

function png(bytes: Buffer, name: string): Image {
  let decoded: ReturnType<typeof decodePng>;
  try {
    decoded = decodePng(bytes, { checkCrc: true });
  } catch (cause) {
    throw broken(name, (cause as Error).message);
  }
  const { width, height, palette, depth } = decoded;
  if (palette) {
    const colours = convertIndexedToRgb(decoded);
    decoded = { ...decoded, data: colours, channels: colours.length / (width * height) };
  } else if (depth < 8) throw broken(name, `PNG with ${depth} bits is not read`);
  const channels = decoded.channels >= 3 ? 3 : 1;
  const data = new Uint8Array(width * height * channels);
  const shift = depth === 16 ? 8 : 0;
  for (let pixel = 0; pixel < width * height; pixel++)
    for (let c = 0; c < channels; c++)
      data[pixel * channels + c] = decoded.data[pixel * decoded.channels + c] >> shift;
  return { height, width, channels, data };
}

/**
 * MNIST's IDX format (http://yann.lecun.com/exdb/mnist): images (three dimensions) or labels (one) of unsigned bytes.
 * @returns the dimensions and the bytes
 */
export async function readIdx(path: string): Promise<{ dimensions: number[]; data: Uint8Array }> {
  const bytes = await unpack(path);
  const name = basename(path);
  if (bytes.length < 4 || bytes.readUInt16BE(0) !== 0 || bytes[2] !== 8)
    throw broken(name, 'it is no IDX file of unsigned bytes');
  const start = 4 + 4 * bytes[3];
  if (bytes.length < start) throw broken(name, 'it is cut off');
  const dimensions = Array.from({ length: bytes[3] }, (_, i) => bytes.readUInt32BE(4 + 4 * i));
  const size = dimensions.reduce((product, n) => product * n, 1);
  if (bytes.length !== start + size) throw broken(name, `${bytes.length - start} bytes of data, not ${size}`);
  return { dimensions, data: new Uint8Array(bytes.subarray(start)) };
}

/** An image with its class. */
export interface LabelledImage {
  readonly image: Image;
  readonly label: number;
}

/** MNIST: the images of one IDX file with the labels of another. */
export async function readMnist(images: string, labels: string): Promise<LabelledImage[]> {
  const pixels = await readIdx(images);
  const classes = await readIdx(labels);
  const [count, height, width] = pixels.dimensions;
  if (pixels.dimensions.length !== 3 || classes.dimensions.length !== 1 || classes.dimensions[0] !== count)
    throw broken(
      basename(labels),
      `its dimensions [${classes.dimensions}] do not fit [${pixels.dimensions}]`,
    );
  const size = height * width;
  return Array.from({ length: count }, (_, i) => ({
    image: { height, width, channels: 1, data: pixels.data.subarray(i * size, (i + 1) * size) },
    label: classes.data[i],
  }));
}

/** CIFAR-10's binary format: records of one label byte and the planes R, G, B of 32 × 32 bytes. */
export async function readCifar10(path: string): Promise<LabelledImage[]> {
  const bytes = await unpack(path);
  const plane = 32 * 32;
  const record = 1 + 3 * plane;
  if (bytes.length === 0 || bytes.length % record !== 0)
    throw broken(basename(path), `${bytes.length} bytes are no whole number of CIFAR-10 records (${record})`);
  return Array.from({ length: bytes.length / record }, (_, i) => {
    const start = i * record;
    const data = new Uint8Array(3 * plane);
    for (let p = 0; p < plane; p++)
      for (let c = 0; c < 3; c++) data[3 * p + c] = bytes[start + 1 + c * plane + p];
    return { image: { height: 32, width: 32, channels: 3, data }, label: bytes[start] };
  });
}

function broken(name: string, fact: string): RankineError {
  return new RankineError(
    'data/broken-image',
    `${name} cannot be read: ${fact}.`,
    'Convert or replace the file.',
  );
}
