import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { RankineError } from '../errors.ts';

/**
 * Brings a dataset of the hub here and gives the folder of its files; `resolveDataset` of `src/formats/hub.ts` is one.
 * @param id   `OWNER/NAME` or `OWNER/NAME@REVISION`
 * @param file the only file that is needed, where it is known
 */
export type DatasetResolver = (id: string, file?: string) => Promise<string>;

export type DataFormat = 'jsonl' | 'json' | 'csv' | 'tsv' | 'parquet' | 'text';

const EXTENSIONS: Readonly<Record<string, DataFormat>> = {
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  json: 'json',
  csv: 'csv',
  tsv: 'tsv',
  parquet: 'parquet',
  txt: 'text',
  text: 'text',
};

/** The format that the name of a file promises, `.gz` aside; undefined where it promises none. */
export function formatOf(path: string): DataFormat | undefined {
  const extension = /\.([^./\\]+)(?:\.gz)?$/.exec(path)?.[1].toLowerCase();
  return extension === undefined ? undefined : EXTENSIONS[extension];
}

/**
 * Local files for one path: a file, a folder, a glob pattern, `hf://datasets/OWNER/NAME[@REVISION][/FILE]`, or
 * `OWNER/NAME` where no such local path exists. Of a folder or repository the files of the split are taken.
 * @throws RankineError `data/no-file`, `data/no-split`, `data/no-hub`
 */
export async function findFiles(path: string, split?: string, hub?: DatasetResolver): Promise<string[]> {
  if (path.startsWith(HUB)) return fromHub(path, split, hub);
  const kind = await stat(path).catch(() => undefined);
  if (kind?.isFile()) return [path];
  if (kind?.isDirectory()) return fromFolder(path, split);
  if (isDynamicPattern(path)) {
    const found = await glob(path, { absolute: false, expandDirectories: false });
    if (found.length > 0) return found.sort();
  } else if (/^[\w.-]+\/[\w.-]+$/.test(path) && formatOf(path) === undefined) {
    return fromHub(`${HUB}${path}`, split, hub);
  }
  throw new RankineError(
    'data/no-file',
    `No data file is found at "${path}".`,
    'Give a file, a folder, a glob pattern, or a dataset of the hub as OWNER/NAME.',
  );
}

const HUB = 'hf://datasets/';

async function fromHub(url: string, split: string | undefined, hub?: DatasetResolver): Promise<string[]> {
  const match = /^hf:\/\/datasets\/([^/@]+\/[^/@]+)(?:@([^/]+))?(?:\/(.+))?$/.exec(url);
  if (!match)
    throw new RankineError(
      'data/no-file',
      `"${url}" names no dataset of the hub.`,
      `Write ${HUB}OWNER/NAME or ${HUB}OWNER/NAME/FILE.`,
    );
  if (!hub)
    throw new RankineError(
      'data/no-hub',
      `"${url}" lies on the hub, which is not open here.`,
      'Download it first.',
    );
  const [, repository, revision, file] = match;
  const folder = await hub(revision ? `${repository}@${revision}` : repository, file);
  return file ? [join(folder, file)] : fromFolder(folder, split ?? 'train', repository);
}

async function fromFolder(folder: string, split?: string, name = folder): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries
    // The hub's cache links its files.
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(folder, '/').length));
  return filesOfSplit(files, split, name).map((file) => join(folder, file));
}

/**
 * The data files of a split, as the hub finds them: the split's name stands in the file name or in a folder name
 * as a word (`train.jsonl`, `data/train-00000-of-00002.parquet`, `validation/a.csv`). Where no file names any
 * split, all of them are `train`. Without `split` all data files are taken.
 */
export function filesOfSplit(files: readonly string[], split: string | undefined, where: string): string[] {
  const data = files.filter((file) => formatOf(file) && !NOT_DATA.test(file)).sort();
  const ofSplit = split === undefined ? data : data.filter((file) => namesSplit(file, split));
  if (ofSplit.length > 0) return ofSplit;
  if (split === 'train' && !data.some((file) => SPLITS.some((name) => namesSplit(file, name)))) {
    if (data.length > 0) return data;
  }
  throw new RankineError(
    'data/no-split',
    `${where} has no data file${split ? ` of the split "${split}"` : ''}; data files: ${data.slice(0, 12).join(', ') || 'none'}.`,
    'Name a file, or another split.',
  );
}

const SPLITS = [
  'train',
  'training',
  'validation',
  'valid',
  'dev',
  'val',
  'test',
  'testing',
  'eval',
  'evaluation',
];
const NOT_DATA = /(^|\/)(dataset_infos?\.json|state\.json|\..*|README\.txt|requirements\.txt|LICENSE\.txt)$/i;

const SAME = [
  ['train', 'training'],
  ['validation', 'valid', 'dev', 'val'],
  ['test', 'testing', 'eval', 'evaluation'],
];

/** True where a word of the path names the split, by any of its usual names. */
export function namesSplit(file: string, split: string): boolean {
  const names = SAME.find((group) => group.includes(split)) ?? [split];
  return (
    file
      .toLowerCase()
      .split(/[^a-z]+/)
      .some((word) => names.includes(word)) || file.includes(`${split}.`)
  );
}
