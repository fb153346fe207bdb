// Writes docs/recipe.md and docs/study.md from their schemas (after a build): `npm run docs`. With --check, only compares.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const root = new URL('../', import.meta.url);
const read = (path) => readFileSync(new URL(path, root), 'utf8');
const { properties } = JSON.parse(read('dist/recipe.schema.json'));
const OBJECTS = ['model', 'data'];
const METHODS = ['adapter', 'optimizer'];
const FULL = 'full';

const text = [
  '# Recipes',
  '',
  '<!-- Written by scripts/recipe-docs.mjs from the schema; never edited by hand. -->',
  '',
  'A recipe says what one run is. It is YAML, JSON, or TypeScript with the recipe as default export, and flags of',
  '`rankine train` override it. Relative paths in it are relative to the current folder, not to its own.',
  'What a run was started with is recorded in its folder as `recipe.json`, with every default filled in.',
  '',
  'Editors complete and check recipes with the schema; in YAML, the first line names it:',
  '',
  '```yaml',
  '# yaml-language-server: $schema=node_modules/rankine/dist/recipe.schema.json',
  'model: gpt2',
  'data: { train: train.jsonl, validation: valid.jsonl }',
  'adapter: { method: lora, rank: 16, targets: [c_attn] }',
  'epochs: 3',
  'output: runs/first',
  '```',
  '',
  ...section('Fields', omit(properties, ['$schema'])),
  ...OBJECTS.flatMap((name) => section(`${name}, as an object`, objectOf(properties[name]).properties)),
  ...section('Data sets (`data.train`, `data.validation`), as objects', datasetFields()),
  ...METHODS.flatMap(methodSections),
  ...scheduleSections(),
].join('\n');

const study = JSON.parse(read('dist/study.schema.json')).properties;
const studyText = [
  '# Studies',
  '',
  '<!-- Written by scripts/recipe-docs.mjs from the schema; never edited by hand. -->',
  '',
  'A study compares methods at one budget: `rankine compare STUDY`. It is YAML, JSON or TypeScript. What fits the budget is',
  'computed first (`--dry-run`); every run is a process of its own, measured from outside; killed at any moment, the same',
  'command goes on. The folder of the study gets `report.html`, `report.md`, `result.json` and, for a README, `picture.svg`.',
  '`rankine replay STUDY --all` runs every finished row again and compares bytes; outcomes are kept in `replays.json` and the',
  'report shows them.',
  '',
  '```yaml',
  '# yaml-language-server: $schema=node_modules/rankine/dist/study.schema.json',
  'name: dates',
  'recipe: { model: quickstart/base, data: { train: quickstart/data/train.jsonl, holdOut: 100 }, steps: 100 }',
  'methods: [lora, dora, { label: Bone r=16, adapter: { method: bone, rank: 16 } }]',
  'budget: { trainable: 100000 }',
  'tuning: { trials: 3, rate: [1.0e-4, 1.0e-2] }',
  'test: quickstart/data/test.jsonl',
  'metric: exact-match',
  '```',
  '',
  '`recipe` takes the fields of a [recipe](recipe.md) but `seed` and `output`. A method is the name of a weight form or of an',
  'optimizer, or fields of a recipe with a `label`; options that all forms have may stand in `recipe.adapter` without a',
  'method. An optimizer alone moves all weights, or LoRA where it is for its factors, unless `recipe.adapter` names a form.',
  'With a budget of trained numbers each form gets the size that comes nearest below it, unless it names its own.',
  'Tuned settings are the best on validation data among the trials and the defaults; both are shown, and tests compare',
  'methods on the same examples of `test`: a two-level t test over seeds and examples, Holm over all pairs.',
  '',
  ...section('Fields', omit(study, ['$schema', 'recipe', 'test', 'general'])),
  ...section('Data and recipe', {
    recipe: described(study.recipe),
    test: described(study.test),
    general: described(study.general),
  }),
  ...section('budget, one of', objectOf(study.budget).properties),
  ...section('tuning', objectOf(study.tuning).properties),
].join('\n');

const stale = Object.entries({ 'docs/recipe.md': text, 'docs/study.md': studyText }).filter(
  ([file, content]) => {
    if (process.argv.includes('--check')) return !existsSync(new URL(file, root)) || read(file) !== content;
    writeFileSync(new URL(file, root), content);
    return false;
  },
);
for (const [file] of stale) console.error(`${file} is stale: run \`npm run docs\`.`);
if (stale.length > 0) process.exit(1);

/** A field whose form is explained elsewhere. */
function described(node) {
  return { type: 'as in a recipe', description: node.description };
}

function section(title, fields) {
  const rows = Object.entries(fields).map(([name, node]) => {
    const usual = node.default === undefined ? '' : `\`${JSON.stringify(node.default)}\``;
    return `| \`${name}\` | ${typeOf(node)} | ${usual} | ${node.description ?? ''} |`;
  });
  return [`## ${title}`, '', '| field | value | default | |', '| --- | --- | --- | --- |', ...rows, ''];
}

/** What a field takes, in words. */
function typeOf(node) {
  if (node.const !== undefined) return `\`${node.const}\``;
  if (node.enum) return node.enum.map((value) => `\`${value}\``).join(', ');
  if (node.oneOf) return 'object';
  if (node.anyOf) return [...new Set(node.anyOf.map(typeOf))].join(' or ');
  if (node.prefixItems) return `[${node.prefixItems.map(typeOf).join(', ')}]`;
  if (node.type === 'array') return `list of ${typeOf(node.items)}`;
  if (node.type === 'integer') return `integer${range(node)}`;
  if (node.type === 'number') return `number${range(node)}`;
  return node.type ?? 'anything';
}

function range({ minimum, maximum, exclusiveMinimum }) {
  const bounds = [];
  if (exclusiveMinimum !== undefined) bounds.push(`above ${exclusiveMinimum}`);
  else if (minimum !== undefined && minimum > Number.MIN_SAFE_INTEGER) bounds.push(`from ${minimum}`);
  if (maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER) bounds.push(`to ${maximum}`);
  return bounds.length > 0 ? ` ${bounds.join(' ')}` : '';
}

function datasetFields() {
  return objectOf(objectOf(properties.data).properties.train).properties;
}

/** Options that all methods of a kind share (but full training, which is none of the forms), then what each has of its own. */
function methodSections(kind) {
  const methods = objectsOf(properties[kind]).filter((m) => m.properties?.method?.const);
  const optional = methods.filter((m) => Object.keys(m.properties).length > 1);
  const alike = optional.filter((m) => m.properties.method.const !== FULL);
  const same = ([key, node]) => alike.every((m) => equal(m.properties[key], node));
  const shared = Object.fromEntries(Object.entries(alike[0].properties).filter(same));
  // Methods with the same options stand together.
  const groups = new Map();
  for (const m of methods) {
    const fields = omit(m.properties, ['method', ...Object.keys(shared)]);
    const key = JSON.stringify(fields);
    const names = groups.get(key)?.names ?? [];
    if (Object.keys(fields).length > 0)
      groups.set(key, { fields, names: [...names, m.properties.method.const] });
  }
  return [
    `## ${kind}: methods`,
    '',
    `\`${kind}: NAME\`, or \`${kind}: {method: NAME, …}\` with options. \`rankine methods\` says when to choose which.`,
    '',
    ...methods.map((m) => `- \`${m.properties.method.const}\`${m.description ? `: ${m.description}` : ''}`),
    '',
    ...(Object.keys(shared).length > 0
      ? section(`${kind}: options of all ${kind === 'adapter' ? 'weight forms' : 'methods'}`, shared)
      : []),
    ...[...groups.values()].flatMap(({ fields, names }) =>
      section(`${kind}: options of ${names.join(', ')}`, fields),
    ),
  ];
}

function scheduleSections() {
  const kinds = objectsOf(properties.schedule).filter((k) => k.properties?.kind);
  return [
    '## schedule: kinds',
    '',
    '`schedule: KIND`, or `schedule: {kind: KIND, …}`.',
    '',
    ...kinds.flatMap((k) => section(`schedule: ${k.properties.kind.const}`, omit(k.properties, ['kind']))),
  ];
}

/** Every object among the alternatives of a node. */
function objectsOf(node) {
  if (node.properties) return [node];
  return [...(node.anyOf ?? []), ...(node.oneOf ?? [])].flatMap(objectsOf);
}

function objectOf(node) {
  return objectsOf(node)[0];
}

function omit(fields, names) {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
}

function equal(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
