/**
 * Peak memory of training as `rankine estimate` predicts it and as it is measured: every optimizer and every weight
 * form, each run in a process of its own for a few updates.
 *
 *   npm run bench -- memory [--size base,twin,60m] [--method galore,lora] [--execution whole,blockwise] [--steps 2]
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { estimateRun, forms, optimizers, type RecipeInput } from '../src/index.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const tokenizer = join(root, 'quickstart/base');

/** Three models; their ranks fit the smallest layer. */
const sizes: Record<string, Pick<RecipeInput, 'model' | 'batch'> & { length: number }> = {
  base: { model: { path: tokenizer, init: 'random' }, batch: 16, length: 128 },
  twin: { model: { path: 'llama-twin', init: 'random', tokenizer }, batch: 32, length: 128 },
  '60m': { model: { path: 'llama-60m', init: 'random', tokenizer }, batch: 4, length: 128 },
};

const { values } = parseArgs({
  args: process.argv.slice(2).filter((word) => word !== 'memory'),
  options: {
    size: { type: 'string', default: Object.keys(sizes).join() },
    method: { type: 'string' },
    execution: { type: 'string', default: 'whole,blockwise' },
    steps: { type: 'string', default: '2' },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'rankine-memory-'));

function recipeOf(size: string, execution: string, chosen: Partial<RecipeInput>): RecipeInput {
  const { model, batch, length } = sizes[size];
  return {
    model,
    data: { train: join(root, 'quickstart/data/train.jsonl'), maxLength: length, packing: 'sequential' },
    adapter: 'full',
    batch,
    ...chosen,
    execution: execution as 'whole',
    // Without clipping, gradients go one by one where the execution lets them.
    clip: execution === 'whole' ? 1 : 0,
    steps: Number(values.steps),
    output: join(folder, 'run'),
  };
}

/** Bytes of resident memory at the peak, as the run itself reports. */
function measure(recipe: RecipeInput): number {
  const file = join(folder, 'recipe.json');
  writeFileSync(file, JSON.stringify(recipe));
  const args = [join(root, 'dist/cli/main.js'), 'train', file, '--overwrite', '--json'];
  const text = execFileSync('nice', [process.execPath, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return JSON.parse(text.trim().split('\n').at(-1)!).peakMemory;
}

/** Options without which a method does not run in so few updates. */
const needed: Record<string, object> = { adalora: { targetRank: 4 } };

const wanted = (name: string) => values.method?.split(',').includes(name) ?? true;
const cases = [
  ...optimizers.filter((o) => wanted(o.name)).map((o) => [o.name, { optimizer: o.name }] as const),
  ...forms
    .filter((f) => wanted(f.name))
    .map((f) => [f.name, { adapter: { method: f.name, rank: 8, ...needed[f.name] } }] as const),
];

console.log('| model | execution | method | predicted, MB | measured, MB | off by |');
console.log('| --- | --- | --- | --- | --- | --- |');
try {
  for (const size of values.size.split(','))
    for (const execution of values.execution.split(','))
      for (const [name, chosen] of cases) await row(size, execution, name, recipeOf(size, execution, chosen));
} finally {
  rmSync(folder, { recursive: true });
}

async function row(size: string, execution: string, name: string, recipe: RecipeInput): Promise<void> {
  const { peak } = await estimateRun(recipe);
  const cells = [size, execution, name, megabytes(peak)];
  try {
    const measured = measure(recipe);
    cells.push(megabytes(measured), `${(100 * (peak / measured - 1)).toFixed(1)} %`);
  } catch (error) {
    cells.push(
      String((error as { stderr?: string }).stderr ?? error)
        .trim()
        .split('\n')[0],
      '',
    );
  }
  console.log(`| ${cells.join(' | ')} |`);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
