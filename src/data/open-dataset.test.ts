import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { realData } from '../../tests/data.ts';
import type { Dataset, Row } from './dataset.ts';
import { type DatasetSpec, openDataset } from './open-dataset.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rankine-data-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function file(name: string, content: string | Uint8Array): Promise<string> {
  await writeFile(join(folder, name), content);
  return join(folder, name);
}

async function all(dataset: Dataset): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of dataset.rows()) rows.push(row);
  return rows;
}

/** Streams, and checks that counting and reading by number agree. */
async function read(spec: string | DatasetSpec): Promise<Row[]> {
  const dataset = await openDataset(spec);
  const rows = await all(dataset);
  expect(await dataset.count()).toBe(rows.length);
  for (const i of [rows.length - 1, 0, rows.length >> 1]) expect(await dataset.at(i)).toEqual(rows[i]);
  return rows;
}

const fields = async (spec: string | DatasetSpec) => (await read(spec)).map((row) => row.fields);

describe('readers', () => {
  const two = [{ text: 'one "é"\n' }, { text: '𝄞 two' }];
  const lines = `\uFEFF${JSON.stringify(two[0])}\r\n\n${JSON.stringify(two[1])}`;

  it('JSON lines, plain and gzipped, with a mark, blank lines and no last line feed', async () => {
    expect(await fields(await file('a.jsonl', lines))).toEqual(two);
    expect(await fields(await file('a.jsonl.gz', gzipSync(lines)))).toEqual(two);
    expect((await read(join(folder, 'a.jsonl'))).map((row) => row.where)).toEqual([
      'a.jsonl, line 1',
      'a.jsonl, line 3',
    ]);
  });

  it('JSON as an array and as {data}', async () => {
    expect(await fields(await file('a.json', JSON.stringify(two)))).toEqual(two);
    expect(await fields(await file('b.json', JSON.stringify({ version: 1, data: two })))).toEqual(two);
  });

  it('CSV with quoted delimiters, quotes and line feeds', async () => {
    const csv = 'text,label\r\n"a, ""b""\nc",1\r\nplain,0\r\n';
    const rows = await read(await file('a.csv', csv));
    expect(rows.map((row) => row.fields)).toEqual([
      { text: 'a, "b"\nc', label: '1' },
      { text: 'plain', label: '0' },
    ]);
    expect(rows.map((row) => row.where)).toEqual(['a.csv, line 2', 'a.csv, line 4']);
  });

  it('TSV with quotes as ordinary characters, and columns named by the user', async () => {
    const path = await file('a.tsv', 'say "hi\t1\nthe 5" disk\t0\n');
    expect(await fields({ path, header: ['text', 'label'] })).toEqual([
      { text: 'say "hi', label: '1' },
      { text: 'the 5" disk', label: '0' },
    ]);
  });

  it('plain text by line, by paragraph and whole', async () => {
    const path = await file('a.txt', 'one\ntwo\n\n\n  \nthree\n');
    expect(await fields(path)).toEqual([{ text: 'one' }, { text: 'two' }, { text: 'three' }]);
    expect(await fields({ path, unit: 'paragraph' })).toEqual([{ text: 'one\ntwo' }, { text: 'three' }]);
    expect(await fields({ path, unit: 'file' })).toEqual([{ text: 'one\ntwo\n\n\n  \nthree\n' }]);
  });

  it('lines that cross the blocks of the stream', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({ text: `${i}é`.repeat(5000 + 137 * i) }));
    const path = await file('long.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'));
    expect(await fields(path)).toEqual(rows);
  });

  it('CSV of any fields comes back as it was', async () => {
    const cell = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', ' ', 'é', "'"), maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 8 }), async (cells) => {
        const quoted = cells.map((row) => row.map((c) => `"${c.replaceAll('"', '""')}"`).join(','));
        const path = await file('any.csv', `x,y\n${quoted.join('\n')}\n`);
        expect(await fields(path)).toEqual(cells.map(([x, y]) => ({ x, y })));
      }),
      { numRuns: 40 },
    );
  });
});

describe('Parquet', () => {
  const path = new URL('../../tests/golden/data/rows.parquet', import.meta.url).pathname;

  it('streams row groups, and reads rows by number in any order', async () => {
    const dataset = await openDataset(path);
    expect(await dataset.count()).toBe(25);
    const rows = await all(dataset);
    expect(rows.map((row) => row.fields)).toEqual(
      Array.from({ length: 25 }, (_, i) => ({
        text: `row ${i} é`,
        label: i % 3,
        messages: [{ role: 'user', content: `q${i}` }],
      })),
    );
    for (const i of [24, 0, 13, 9, 10, 24]) expect(await dataset.at(i)).toEqual(rows[i]);
    expect(rows[13].where).toBe('rows.parquet, row 14');
  });

  it('names a file that is none', async () => {
    const broken = await openDataset(await file('x.parquet', 'PAR1 nothing here PAR1'));
    await expect(broken.count()).rejects.toMatchObject({ code: 'data/broken-parquet' });
  });
});

describe('which files, which rows', () => {
  it('skips, limits and renames, over several files and patterns', async () => {
    await file('p1.jsonl', '{"question":"a","answer":"1"}\n{"question":"b","answer":"2"}\n');
    await file('p2.jsonl', '{"question":"c","answer":"3"}\n{"question":"d","answer":"4"}\n');
    const columns = { prompt: 'question', completion: 'answer' };
    const spec = { path: join(folder, 'p[12].jsonl'), columns, skip: 1, limit: 2 };
    expect(await fields(spec)).toEqual([
      { prompt: 'b', completion: '2' },
      { prompt: 'c', completion: '3' },
    ]);
  });

  it('takes the files of a split from a folder', async () => {
    await mkdir(join(folder, 'set/data'), { recursive: true });
    await file('set/README.md', '# no data');
    await file('set/data/train-00000-of-00002.jsonl', '{"text":"a"}\n');
    await file('set/data/train-00001-of-00002.jsonl', '{"text":"b"}\n');
    await file('set/data/validation.jsonl', '{"text":"v"}\n');
    const path = join(folder, 'set');
    expect(await fields({ path, split: 'train' })).toEqual([{ text: 'a' }, { text: 'b' }]);
    expect(await fields({ path, split: 'dev' })).toEqual([{ text: 'v' }]);
    await expect(openDataset({ path, split: 'test' })).rejects.toMatchObject({ code: 'data/no-split' });
  });

  it('asks the hub for what lies there', async () => {
    await mkdir(join(folder, 'snapshot'));
    await symlink(await file('blob', '{"text":"from the hub"}\n'), join(folder, 'snapshot/train.jsonl'));
    await file('snapshot/test.jsonl', '{"text":"another split"}\n');
    const asked: unknown[] = [];
    const hub = async (...request: unknown[]) => {
      asked.push(request);
      return join(folder, 'snapshot');
    };
    const texts = async (path: string) =>
      (await all(await openDataset(path, hub))).map((row) => row.fields.text);
    expect(await texts('some-owner/some-name')).toEqual(['from the hub']);
    expect(await texts('hf://datasets/o/n@v2/test.jsonl')).toEqual(['another split']);
    expect(asked).toEqual([
      ['some-owner/some-name', undefined],
      ['o/n@v2', 'test.jsonl'],
    ]);
    await expect(openDataset('some-owner/some-name')).rejects.toMatchObject({ code: 'data/no-hub' });
  });
});

describe('bad input', () => {
  const failure = async (name: string, content: string | Uint8Array, more: Partial<DatasetSpec> = {}) => {
    const dataset = await openDataset({ path: await file(name, content), ...more });
    return all(dataset).then(
      () => 'no error',
      (error) => `${error.code} ${error.message}`,
    );
  };

  it.each([
    ['{"a": 1}\n{"a": tru }\n', 'line 2, column 10'],
    ['{"a": 1,}', 'line 1, column 9'],
    ['{"a": 1', 'line 1, column 8'],
    ['{"a": "x\ty"}', 'line 1, column 9'],
    ['{"a": 01}', 'line 1, column 8'],
    ['nonsense', 'line 1, column 2'],
  ])('names line and column of broken JSON: %j', async (content, place) => {
    expect(await failure('bad.jsonl', content)).toContain(`data/broken-json bad.jsonl, ${place}:`);
  });

  it('names line and column within a JSON file', async () => {
    expect(await failure('bad.json', '[\n {"a": 1},\n {"a" 2}\n]')).toContain('bad.json, line 3, column 7');
  });

  it('names the line with too many fields', async () => {
    expect(await failure('bad.csv', 'a,b\n1,2\n1,2,3\n')).toMatch(
      /data\/broken-row bad.csv, line 3: 3 fields.*names 2/,
    );
  });

  it.each([
    ['empty.jsonl', ''],
    ['blank.jsonl', '\n \n'],
    ['header.csv', 'a,b\n'],
    ['nothing.csv', ''],
    ['list.json', '[]'],
  ])('refuses %s', async (name, content) => {
    expect(await failure(name, content)).toContain('data/empty');
  });

  it('names rows that are no objects, cut gzip files, unknown formats and absent files', async () => {
    expect(await failure('list.jsonl', '[1, 2]\n')).toContain('data/not-rows list.jsonl, line 1');
    expect(await failure('cut.jsonl.gz', gzipSync('{"a":1}\n'.repeat(99)).subarray(0, 30))).toContain(
      'data/broken-gzip',
    );
    expect(await failure('a.jsonl', '{"b":1}\n', { columns: { text: 'body' } })).toMatch(
      /line 1.*"body".*present: b/,
    );
    await expect(openDataset(await file('a.xyz', 'x'))).rejects.toMatchObject({
      code: 'data/unknown-format',
    });
    await expect(openDataset('absent.jsonl')).rejects.toMatchObject({ code: 'data/no-file' });
  });
});

const real: [string, number, Partial<DatasetSpec>][] = [
  ['ft/gsm8k.train.jsonl.gz', 7473, {}],
  ['ft/glue/cola.in_domain_dev.tsv.gz', 527, { header: ['source', 'label', 'mark', 'sentence'] }],
  ['ft/glue/mrpc.train.txt.gz', 4076, { format: 'tsv' }],
  ['ft/llm_adapters.math_data.json.gz', 3260, {}],
];

it.each(real)('reads the real %s', async (path, rows, more) => {
  const full = realData(path);
  if (full) expect(await (await openDataset({ path: full, ...more })).count()).toBe(rows);
});
