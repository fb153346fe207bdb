import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { parseStudy } from '../studies/index.ts';
import { studyJsonSchema } from './study-schema.ts';

const validator = z.fromJSONSchema(studyJsonSchema() as never);
const root = new URL('../../', import.meta.url);
const files = ['studies/', 'experiments/adapters/'].flatMap((folder) =>
  readdirSync(new URL(folder, root))
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => `${folder}${name}`),
);

test.each(files)('the schema and the parser accept %s', (file) => {
  const study = parse(readFileSync(new URL(file, root), 'utf8'));
  expect(validator.safeParse(study).error?.message).toBeUndefined();
  expect(parseStudy(study).name).toBe(study.name);
});

test('the schema refuses what the parser refuses', () => {
  const good = { name: 's', recipe: { model: 'm', data: 'd' }, methods: ['lora'], test: 't.jsonl' };
  expect(validator.safeParse(good).success).toBe(true);
  for (const bad of [{ seedz: 3 }, { metric: 'bleu' }, { methods: [] }, { recipe: { modle: 'm' } }])
    expect(validator.safeParse({ ...good, ...bad }).success, JSON.stringify(bad)).toBe(false);
});
