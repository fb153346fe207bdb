// Builds dist/ from src/: JavaScript, declarations, and the JSON Schema of recipes for editors.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = new URL('../', import.meta.url);
const at = (path) => fileURLToPath(new URL(path, root));
const SCHEMA = 'recipe.schema.json';
const STUDY_SCHEMA = 'study.schema.json';

const compiler = at('node_modules/typescript/bin/tsc');
const { status, error } = spawnSync(process.execPath, [compiler, '-p', at('tsconfig.build.json')], {
  // tsc reports on standard output, which callers keep for themselves.
  stdio: ['ignore', 2, 2],
});
if (error) throw error;
if (status !== 0) process.exit(status ?? 1);

copyStyles();
removeOrphans();
chmodSync(at('dist/cli/main.js'), 0o755);
const { recipeJsonSchema } = await import(new URL('dist/cli/recipe-schema.js', root).href);
const { studyJsonSchema } = await import(new URL('dist/cli/study-schema.js', root).href);
writeFileSync(at(`dist/${STUDY_SCHEMA}`), `${JSON.stringify(studyJsonSchema(), null, 2)}\n`);
// Written last: it stands for a finished build (scripts/bootstrap.mjs).
writeFileSync(at(`dist/${SCHEMA}`), `${JSON.stringify(recipeJsonSchema(), null, 2)}\n`);

/** Style sheets of pages stand beside the code that reads them; scripts of pages come with the compiler. */
function copyStyles() {
  for (const path of readdirSync(at('src'), { recursive: true }))
    if (path.endsWith('.css')) copyFileSync(at(join('src', path)), at(join('dist', path)));
}

/** Files whose source is gone must not be packed. One by one: a run that goes on keeps the modules that it loads late. */
function removeOrphans() {
  for (const path of readdirSync(at('dist'), { recursive: true })) {
    const [, stem, style] = /^(.*?)(?:\.d\.ts|\.js|\.js\.map|(\.css))$/.exec(path) ?? [];
    const sources = style ? [style] : ['.ts', '.js'];
    if (stem !== undefined && !sources.some((ending) => existsSync(at(join('src', stem + ending)))))
      rmSync(at(join('dist', path)));
  }
}
