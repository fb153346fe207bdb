// Writes docs/recipe.md from the recipe's schema (after a build): `npm run docs`. With --check, only compares.
import { readFileSync, writeFileSync } from 'node:fs';

const root = new URL('../', import.meta.url);
const read = (path) => readFileSync(new URL(path, root), 'utf8');
const { properties } = JSON.parse(read('dist/recipe.schema.json'));
const OBJECTS = ['model', 'data'];
const METHODS = ['adapter', 'optimizer'];

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

const path = new URL('docs/recipe.md', root);
if (!process.argv.includes('--check')) writeFileSync(path, text);
else if (read('docs/recipe.md') !== text) {
  console.error('docs/recipe.md is stale: run `npm run docs`.');
  process.exit(1);
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

/** Options that all methods of a kind share, then what each has of its own. */
function methodSections(kind) {
  const methods = objectsOf(properties[kind]).filter((m) => m.properties?.method?.const);
  const optional = methods.filter((m) => Object.keys(m.properties).length > 1);
  const same = ([key, node]) => optional.every((m) => equal(m.properties[key], node));
  const shared = Object.fromEntries(Object.entries(optional[0].properties).filter(same));
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
    ...(Object.keys(shared).length > 0 ? section(`${kind}: options of all methods`, shared) : []),
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
