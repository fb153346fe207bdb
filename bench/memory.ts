/**
 * Peak memory of training as `rankine estimate` predicts it and as it is measured: every optimizer and every weight
 * form, each run in a process of its own for a few updates.
 *
 *   npm run bench -- memory [METHOD …] [--sizes base,twin,60m,60m-8x256] [--executions whole,blockwise] [--steps 2]
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { estimateRun, forms, optimizers, RankineError, type RecipeInput } from '../src/index.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const tokenizer = join(root, 'quickstart/base');

/** Three models, one in batches of two sizes; ranks fit the smallest layer. */
const sizes: Record<string, Pick<RecipeInput, 'model' | 'batch'> & { length: number }> = {
  base: { model: { path: tokenizer, init: 'random' }, batch: 16, length: 128 },
  twin: { model: { path: 'llama-twin', init: 'random', tokenizer }, batch: 32, length: 128 },
  '60m': { model: { path: 'llama-60m', init: 'random', tokenizer }, batch: 4, length: 128 },
  '60m-8x256': { model: { path: 'llama-60m', init: 'random', tokenizer }, batch: 8, length: 256 },
};

export interface MemoryOptions {
  readonly sizes?: readonly string[];
  /** Optimizers and forms; default: all. */
  readonly methods: readonly string[];
  readonly executions?: readonly ('whole' | 'blockwise')[];
  readonly steps?: number;
}

/** Options without which a method does not run in so few updates, or not its largest ones. */
const needed: Record<string, object> = {
  adalora: { targetRank: 4 },
  increlora: { first: 0, every: 1 },
  badam: { gap: 2, order: 'ascending' },
};
/** Updates that a run has, where two do not show the largest: in a block's second one its state and gradient are there. */
const fewest: Record<string, number> = { badam: 4 };

interface Case {
  readonly name: string;
  readonly chosen: Partial<RecipeInput>;
}

function casesOf(methods: readonly string[]): Case[] {
  const wanted = ({ name }: { name: string }) => methods.length === 0 || methods.includes(name);
  return [
    ...optimizers
      .filter(wanted)
      .map(({ name }) => ({ name, chosen: { optimizer: { method: name, ...needed[name] } } })),
    ...forms.filter(wanted).map(({ name }) => ({
      name,
      chosen: { adapter: { method: name, rank: 8, ...needed[name] } },
    })),
  ];
}

function recipeOf(
  size: string,
  execution: 'whole' | 'blockwise',
  { chosen }: Case,
  steps: number,
): RecipeInput {
  const { model, batch, length } = sizes[size];
  return {
    model,
    data: { train: join(root, 'quickstart/data/train.jsonl'), maxLength: length, packing: 'sequential' },
    adapter: 'full',
    batch,
    ...chosen,
    execution,
    // Without clipping, gradients go one by one where the execution lets them.
    clip: execution === 'whole' ? 1 : 0,
    steps,
  };
}

/** Bytes of resident memory at the peak, as a run in a process of its own reports. */
function measure(recipe: RecipeInput): number {
  const folder = mkdtempSync(join(tmpdir(), 'rankine-memory-'));
  try {
    const file = join(folder, 'recipe.json');
    writeFileSync(file, JSON.stringify({ ...recipe, output: join(folder, 'run') }));
    const args = [join(root, 'dist/cli/main.js'), 'train', file, '--json'];
    const text = execFileSync(process.execPath, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return JSON.parse(text.trim().split('\n').at(-1)!).peakMemory;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Prints a line for every run. */
export async function memoryTable(options: MemoryOptions): Promise<void> {
  const { executions = ['whole', 'blockwise'] } = options;
  console.log('| model | execution | method | predicted, MB | measured, MB | off by |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  for (const size of options.sizes ?? Object.keys(sizes))
    for (const execution of executions)
      for (const one of casesOf(options.methods)) {
        const steps = options.steps ?? fewest[one.name] ?? 2;
        const recipe = await withFactors(recipeOf(size, execution, one, steps));
        console.log(`| ${[size, execution, one.name, ...(await cellsOf(recipe))].join(' | ')} |`);
      }
}

/** Optimizers that move nothing but factors get some. */
async function withFactors(recipe: RecipeInput): Promise<RecipeInput> {
  try {
    await estimateRun(recipe);
    return recipe;
  } catch (error) {
    if (!(error instanceof RankineError) || error.code !== 'optimizers/no-factors') throw error;
    return { ...recipe, adapter: { method: 'lora', rank: 8, alpha: 8 } };
  }
}

async function cellsOf(recipe: RecipeInput): Promise<string[]> {
  const { peak } = await estimateRun(recipe);
  try {
    const measured = measure(recipe);
    return [megabytes(peak), megabytes(measured), `${(100 * (peak / measured - 1)).toFixed(1)} %`];
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    return [
      megabytes(peak),
      `failed: ${
        String(stderr ?? error)
          .trim()
          .split('\n')[0]
      }`,
      '',
    ];
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
