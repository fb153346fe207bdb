import { basename } from 'node:path';
import { RankineError } from '../errors.ts';
import { type DataFormat, type DatasetResolver, findFiles, formatOf } from './data-files.ts';
import { concatenate, type Dataset, once, renameColumns, slice } from './dataset.ts';
import { parquetFile } from './parquet-rows.ts';
import { delimitedFile, emptyFile, jsonFile, jsonLines, type TextUnit, textFile } from './text-rows.ts';

export interface DatasetSpec {
  /** Files, folders, glob patterns, `hf://datasets/OWNER/NAME[/FILE]` or `OWNER/NAME`; rows follow in this order. */
  readonly path: string | readonly string[];
  /** By default the extension decides; `.gz` is unpacked. */
  readonly format?: DataFormat;
  /** Of a folder or a dataset of the hub: which files (default of the hub: `train`). */
  readonly split?: string;
  /** New names: `{ prompt: 'question', completion: 'answer' }`. */
  readonly columns?: Readonly<Record<string, string>>;
  /** Rows passed over at the start. */
  readonly skip?: number;
  /** Rows taken at most. */
  readonly limit?: number;
  /** Plain text only: what a row is (default `line`). */
  readonly unit?: TextUnit;
  /** CSV and TSV only: default `,` and tab. */
  readonly delimiter?: string;
  /** CSV and TSV only: quoting character, or false; default `"` for CSV, false for TSV (its standard has none). */
  readonly quote?: string | false;
  /** CSV and TSV only: names of the columns of a file that has no header line. */
  readonly header?: readonly string[];
}

/**
 * Opens a dataset. Nothing but the list of files is read before the first row is asked for.
 * @throws RankineError `data/no-file`, `data/no-split`, `data/no-hub`, `data/unknown-format`; while reading
 *   `data/empty`, `data/broken-json`, `data/broken-row`, `data/broken-gzip`, `data/broken-parquet`, `data/missing-field`
 */
export async function openDataset(
  spec: string | readonly string[] | DatasetSpec,
  hub?: DatasetResolver,
): Promise<Dataset> {
  const { full, paths } = readSpec(spec);
  const files = (await Promise.all(paths.map((path) => findFiles(path, full.split, hub)))).flat();
  const dataset = chosenRows(concatenate(files.map((file) => openFile(file, full))), full);
  return full.columns ? renameColumns(dataset, full.columns) : dataset;
}

/** A specification, however it is written, and its paths. */
export function readSpec(spec: string | readonly string[] | DatasetSpec): {
  full: DatasetSpec;
  paths: readonly string[];
} {
  const full: DatasetSpec = typeof spec === 'string' || isList(spec) ? { path: spec } : spec;
  return { full, paths: isList(full.path) ? full.path : [full.path] };
}

/** The rows that `skip` and `limit` leave, at least one. */
export function chosenRows(dataset: Dataset, { skip = 0, limit }: DatasetSpec): Dataset {
  return notEmpty(skip || limit !== undefined ? slice(dataset, skip, limit) : dataset);
}

/** @param binary byte columns of Parquet without a type stay bytes, as images are */
export function openFile(file: string, spec: DatasetSpec, binary = false): Dataset {
  const format = spec.format ?? formatOf(file);
  switch (format) {
    case 'jsonl':
      return jsonLines(file);
    case 'json':
      return jsonFile(file);
    case 'csv':
      return delimitedFile(file, {
        delimiter: spec.delimiter ?? ',',
        quote: spec.quote ?? '"',
        header: spec.header,
      });
    case 'tsv':
      return delimitedFile(file, {
        delimiter: spec.delimiter ?? '\t',
        quote: spec.quote ?? false,
        header: spec.header,
      });
    case 'parquet':
      return parquetFile(file, binary);
    case 'text':
      return textFile(file, spec.unit ?? 'line');
    default:
      throw new RankineError(
        'data/unknown-format',
        `${basename(file)}: the format ${format ? `"${format}"` : 'of this file'} is unknown.`,
        'Set format to jsonl, json, csv, tsv, parquet or text.',
      );
  }
}

/** Refuses to be read as no rows at all: a run on nothing would look like a run. */
function notEmpty(dataset: Dataset): Dataset {
  const count = once(async () => {
    const n = await dataset.count();
    if (n === 0) throw emptyFile(dataset.name);
    return n;
  });
  return {
    ...dataset,
    async *rows() {
      let any = false;
      for await (const row of dataset.rows()) {
        any = true;
        yield row;
      }
      if (!any) throw emptyFile(dataset.name);
    },
    count,
  };
}

function isList(value: unknown): value is readonly string[] {
  return Array.isArray(value);
}
