// Makes a fresh clone ready: installs the packages of package-lock.json and builds dist/, each only where it is due.
// Plain Node without any package, for there may be none yet.
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
const [major] = process.versions.node.split('.').map(Number);
if (major < 20) fail(`Rankine needs Node 20 or later; this is ${process.versions.node}.`);

// npm writes this file at the end of an installation.
if (changed('node_modules/.package-lock.json') < changed('package-lock.json')) install();
if (changed('dist/recipe.schema.json') < newestSource()) build();

function install() {
  console.log('Installing packages (once, about a minute) …');
  // No install scripts: all binaries that are needed come inside the packages.
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  run(npm, ['ci', ...quiet], 'npm ci failed; the lines above say why.');
}

function build() {
  console.log('Building …');
  run(process.execPath, [join(root, 'scripts/build.mjs')], 'The build failed; the lines above say why.');
}

function run(command, args, failure) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
    shell: command.endsWith('.cmd'),
  });
  if (error) fail(`${failure} (${error.message})`);
  if (status !== 0) fail(failure);
}

/** Milliseconds since 1970 of the last change; 0 where the file is absent. */
function changed(path) {
  return statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function newestSource() {
  const settings = ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts/build.mjs'];
  const sources = readdirSync(join(root, 'src'), { recursive: true })
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts'))
    .map((path) => join('src', path));
  return Math.max(...[...settings, ...sources].map(changed));
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
