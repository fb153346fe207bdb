import { access, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { RankineError } from '../errors.ts';
import { type DatasetResolver, findFiles, namesSplit } from './data-files.ts';
import {
  concatenate,
  type Dataset,
  fromRows,
  mapRows,
  missingField,
  type Row,
  renameColumns,
} from './dataset.ts';
import { decodeImage, type Image, readImage } from './image-decode.ts';
import { type ImageExample, type Preprocessor, preprocess } from './images.ts';
import { chosenRows, type DatasetSpec, openFile, readSpec } from './open-dataset.ts';
import { type Classes, labelId } from './shapes.ts';
import type { ExampleSource } from './sources.ts';

const IMAGE = /\.(jpe?g|png|(ppm|pgm)(\.gz)?)$/i;
const METADATA = /(^|\/)metadata\.(csv|jsonl|parquet)$/;

/**
 * Opens images with their labels. A path is
 * - a folder (or pattern) of images in one folder a class, whose name is the label: `photos/cat/1.jpg`; with `split`, of
 *   those below a folder that names it: `photos/train/cat/1.jpg`;
 * - or tables as of `openDataset`, a folder with `metadata.csv` or `metadata.jsonl` among them, with a column `label` and
 *   a column `image` (or `file_name`): a path, relative to the table, or the bytes of the file, also as the record
 *   `{bytes, path}` of the hub's Parquet files.
 *
 * Nothing is decoded before an example is asked for.
 * @throws RankineError those of `openDataset`; `data/no-class` where an image lies in no folder of a class
 */
export async function openImageDataset(
  spec: string | readonly string[] | DatasetSpec,
  hub?: DatasetResolver,
): Promise<Dataset> {
  const { full, paths } = readSpec(spec);
  const parts = await Promise.all(paths.map((path) => openPath(path, full, hub)));
  return chosenRows(concatenate(parts.flat()), full);
}

async function openPath(path: string, spec: DatasetSpec, hub?: DatasetResolver): Promise<Dataset[]> {
  const found = (await inFolder(path, spec.split)) ?? (await findFiles(path, spec.split, hub));
  const images = found.filter((file) => IMAGE.test(file));
  const tables = found.filter((file) => !IMAGE.test(file)).map((file) => openTable(file, spec));
  if (images.length === 0) return tables;
  return [
    ...tables,
    fromRows(
      images.map((file) => classRow(file, path)),
      path,
    ),
  ];
}

/** Metadata tables or images of a folder; undefined where it has neither, or is none. */
async function inFolder(path: string, split?: string): Promise<string[] | undefined> {
  if (!(await stat(path).catch(() => undefined))?.isDirectory()) return undefined;
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(path, '/').length))
    // In every locale and on every system the same.
    .sort((a, b) => (a < b ? -1 : 1));
  const metadata = files.filter((file) => METADATA.test(file));
  const all = metadata.length > 0 ? metadata : files.filter((file) => IMAGE.test(file));
  // A class may bear the name of a split: only the folders above it tell.
  const above = (file: string) => (metadata.length > 0 ? dirname(file) : dirname(dirname(file)));
  const chosen = split === undefined ? all : all.filter((file) => namesSplit(above(file), split));
  return chosen.length > 0 ? chosen.map((file) => join(path, file)) : undefined;
}

function classRow(file: string, path: string): Row {
  const folder = dirname(file);
  if (resolve(folder) === resolve(path))
    throw new RankineError(
      'data/no-class',
      `${file} lies in no folder of a class.`,
      'Put each image into a folder with the name of its class, or write a metadata.csv of file_name and label.',
    );
  return { fields: { image: file, label: basename(folder) }, where: file };
}

function openTable(file: string, spec: DatasetSpec): Dataset {
  const rows = openFile(file, spec, true);
  const renamed = spec.columns ? renameColumns(rows, spec.columns) : rows;
  return mapRows(renamed, (row) => ({
    ...row,
    fields: { ...row.fields, image: imageOf(row, dirname(file)) },
  }));
}

/** A path from the current folder, or bytes. */
function imageOf(row: Row, folder: string): string | Uint8Array {
  const value = row.fields.image ?? row.fields.file_name;
  if (value === undefined || value === null) throw missingField(row, ['image']);
  const { bytes, path } = value as { bytes?: unknown; path?: unknown };
  for (const form of [value, bytes, path]) {
    if (form instanceof Uint8Array) return form;
    if (typeof form === 'string' && form !== '') return resolve(folder, form);
  }
  throw new RankineError(
    'data/wrong-field',
    `${row.where}: the field "image" is neither a path nor the bytes of a file.`,
    'Correct the row.',
  );
}

/**
 * Examples that are decoded when they are asked for: only those of a batch are in memory.
 * @throws RankineError from `at`: those of `readImage`, `preprocess` and `labelId`
 */
export async function imageExamples(
  dataset: Dataset,
  classes: Classes,
  how: Preprocessor,
): Promise<ExampleSource<ImageExample>> {
  return {
    name: dataset.name,
    length: await dataset.count(),
    async at(index) {
      const row = await dataset.at(index);
      return [{ ...preprocess(await rowImage(row), how), label: labelId(row, classes) }];
    },
  };
}

async function rowImage({ fields: { image }, where }: Row): Promise<Image> {
  return image instanceof Uint8Array ? decodeImage(image, `The image of ${where}`) : readImage(String(image));
}

/**
 * Finds at once what would stop a run later: labels outside the classes, files that are not there.
 * @throws RankineError `data/label`, `data/missing-field`, `data/no-file` with the row
 */
export async function checkImages(dataset: Dataset, classes: Classes, signal?: AbortSignal): Promise<void> {
  for await (const row of dataset.rows()) {
    signal?.throwIfAborted();
    labelId(row, classes);
    const { image } = row.fields;
    if (typeof image !== 'string') continue;
    await access(image).catch((cause) => {
      throw new RankineError(
        'data/no-file',
        `${row.where}: there is no image ${image}.`,
        'Correct the row.',
        {
          cause,
        },
      );
    });
  }
}

/**
 * The classes that rows name: the sorted names, or with numbers (or digits without a gap) as labels how many.
 * @throws RankineError `data/missing-field`; `data/one-class` where there is but one
 */
export async function classesIn(dataset: Dataset): Promise<Classes> {
  const labels = new Set<unknown>();
  for await (const row of dataset.rows()) {
    const { label } = row.fields;
    if (label === undefined || label === null) throw missingField(row, ['label']);
    labels.add(typeof label === 'string' ? label : Number(label));
  }
  const ids = [...labels].map(Number);
  const highest = Math.max(...ids);
  const numbered = [...labels].every((label) => typeof label === 'number') || labels.size === highest + 1;
  const classes = numbered ? highest + 1 : [...labels].map(String).sort();
  const count = typeof classes === 'number' ? classes : classes.length;
  if (count >= 2) return classes;
  throw new RankineError(
    'data/one-class',
    `All rows of ${dataset.name} have the label ${JSON.stringify([...labels][0])}.`,
    'Give images of at least two classes, or set model.labels.',
  );
}
