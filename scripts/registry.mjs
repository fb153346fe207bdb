// Writes the registries of methods from the files that define them: `npm run registry`. With --check, only compares.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const rooms = [
  {
    folder: 'src/adapters',
    define: 'defineForm',
    type: 'WeightForm',
    from: './weight-form.ts',
    list: 'forms',
  },
  {
    folder: 'src/optimizers',
    define: 'defineOptimizer',
    type: 'OptimizerMethod',
    from: './optimizer.ts',
    list: 'optimizers',
  },
];
const check = process.argv.includes('--check');
let stale = false;

for (const room of rooms) {
  const found = [];
  for (const file of readdirSync(room.folder).sort()) {
    if (!file.endsWith('.ts') || file.endsWith('.test.ts') || file === 'registry.ts') continue;
    const source = readFileSync(join(room.folder, file), 'utf8');
    for (const match of source.matchAll(new RegExp(`export const (\\w+) = ${room.define}\\b`, 'g')))
      found.push({ name: match[1], file });
  }
  const imports = [
    ...found.map(({ name, file }) => ({ file: `./${file}`, line: `import { ${name} } from './${file}';` })),
    { file: room.from, line: `import type { ${room.type} } from '${room.from}';` },
  ];
  const bare = (file) => file.replace(/\.ts$/, '');
  imports.sort((a, b) => (bare(a.file) < bare(b.file) ? -1 : 1));
  const lines = [
    `// Written by scripts/registry.mjs from the files of this folder; never edited by hand.`,
    ...imports.map(({ line }) => line),
    '',
    `export const ${room.list}: readonly ${room.type}[] = [`,
    ...found.map(({ name }) => `  ${name},`),
    '];',
    '',
  ];
  const text = format(lines, room.list, room.type);
  const path = join(room.folder, 'registry.ts');
  const current = readIfThere(path);
  if (current === text) continue;
  if (check) stale = true;
  else writeFileSync(path, text);
}
if (stale) {
  console.error('The registries are stale: run `npm run registry`.');
  process.exit(1);
}

/** One line where the list fits, as the formatter would write it. */
function format(lines, list, type) {
  const text = lines.join('\n');
  const names = [...text.matchAll(/^ {2}(\w+),$/gm)].map((m) => m[1]);
  const single = `export const ${list}: readonly ${type}[] = [${names.join(', ')}];`;
  return single.length <= 110 ? text.replace(/export const [\s\S]*$/, `${single}\n`) : text;
}

function readIfThere(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
