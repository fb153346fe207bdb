/**
 * What averaging the adapters of four tasks costs each: LoRA r=8, FlyLoRA 8 of 32 with one A for all tasks (ranks still
 * chosen by token), and with an A for each (dense stand-ins). Tasks: Shakespeare, the same with its letters reversed,
 * restaurant descriptions, questions about authors. Writes `merging.json` and `merging.md` under experiments/results.
 *
 *     npx tsx experiments/corpora.ts && npx rankine train experiments/base.yaml
 *     npx tsx experiments/flylora-merging.ts [DATA]
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { mergeFlylora } from '../src/adapters/index.ts';
import { createEngine } from '../src/engine/index.ts';
import { type PeftAdapter, readPeftAdapter } from '../src/formats/index.ts';
import { type NDArray, zeros } from '../src/graph/index.ts';
import { scoreModel } from '../src/studies/score.ts';
import { applyAdapter, openModel, parseRecipe, train } from '../src/training/index.ts';

const OUT = 'experiments/results/flylora';
const WORK = 'runs/experiments/merging';
const data =
  process.argv[2] ?? process.env.RANKINE_DATA ?? new URL('../../shared/data', import.meta.url).pathname;
const gz = (file: string) => gunzipSync(readFileSync(join(data, file))).toString('utf8');
const shakespeare = gz('text/tinyshakespeare.txt.gz').split('\n\n');
const tasks: Record<string, string[]> = {
  shakespeare,
  reversed: shakespeare.map((text) => [...text].reverse().join('')),
  restaurants: gz('ft/e2e.valid.txt.gz').split('\n'),
  authors: gz('unlearn/tofu.retain90.jsonl.gz')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .map(({ question, answer }) => `Question: ${question}\nAnswer: ${answer}`),
};
mkdirSync(WORK, { recursive: true });
mkdirSync(OUT, { recursive: true });
for (const [name, texts] of Object.entries(tasks)) {
  const kept = texts.filter((text) => text.trim().length > 20);
  const write = (split: string, list: string[]) =>
    writeFileSync(
      join(WORK, `${name}.${split}.jsonl`),
      list.map((text) => `${JSON.stringify({ text })}\n`).join(''),
    );
  write('test', kept.filter((_, i) => i % 20 === 0).slice(0, 60));
  write(
    'train',
    kept.filter((_, i) => i % 20 !== 0),
  );
}

const forms = {
  'LoRA r=8': { adapter: { method: 'lora', rank: 8 }, rate: 0.01, shared: false },
  'FlyLoRA 8 of 32, one A': {
    adapter: { method: 'flylora', rank: 32, active: 8 },
    rate: 0.015,
    shared: true,
  },
  'FlyLoRA 8 of 32, an A each': {
    adapter: { method: 'flylora', rank: 32, active: 8 },
    rate: 0.015,
    shared: false,
  },
};

function recipeOf(form: keyof typeof forms, task: string) {
  const { adapter, rate, shared } = forms[form];
  return parseRecipe({
    model: 'runs/experiments/base/model',
    data: { train: join(WORK, `${task}.train.jsonl`), maxLength: 128, packing: 'first-fit' },
    adapter,
    rate,
    schedule: { kind: 'linear', warmup: 0.05 },
    batch: 8,
    steps: 80,
    seed: shared ? 1 : 1 + Object.keys(tasks).indexOf(task),
    output: join(WORK, `${form}-${task}`.replace(/\W+/g, '-')),
  });
}

/** The mean change of LoRA adapters as one of all their ranks. */
function averageLora(adapters: readonly PeftAdapter[]): PeftAdapter {
  const [first] = adapters;
  const count = adapters.length;
  const tensors: Record<string, NDArray> = {};
  for (const name of Object.keys(first.tensors)) {
    const parts = adapters.map((a) => a.tensors[name]);
    const [rows, columns] = parts[0].shape;
    const isA = name.includes('lora_A');
    const out = zeros(isA ? [rows * count, columns] : [rows, columns * count]);
    parts.forEach(({ data }, t) => {
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++) {
          const at = isA ? (t * rows + i) * columns + j : i * columns * count + t * columns + j;
          out.data[at] = Number(data[i * columns + j]) / (isA ? 1 : count);
        }
    });
    tensors[name] = out;
  }
  const { r, lora_alpha: alpha } = first.config;
  return { config: { ...first.config, r: Number(r) * count, lora_alpha: Number(alpha) * count }, tensors };
}

const engine = await createEngine({ threads: 2 });
async function lossOf(adapter: PeftAdapter, form: keyof typeof forms, task: string): Promise<number> {
  const recipe = recipeOf(form, task);
  const model = await openModel(recipe.model, 0);
  const adaptation = applyAdapter(model, adapter);
  const test = join(WORK, `${task}.test.jsonl`);
  const { scores } = await scoreModel({ engine, model, adaptation }, recipe, { test, metrics: ['loss'] });
  return scores[0].mean;
}

const names = Object.keys(tasks);
const results: Record<string, { alone: number[]; averaged: number[] }> = {};
for (const form of Object.keys(forms) as (keyof typeof forms)[]) {
  const adapters = [];
  for (const task of names) {
    const recipe = recipeOf(form, task);
    if (!existsSync(join(recipe.output, 'adapter'))) await train(recipe, { mode: 'overwrite' });
    adapters.push(await readPeftAdapter(join(recipe.output, 'adapter')));
  }
  const merged = form.startsWith('LoRA') ? averageLora(adapters) : mergeFlylora(adapters);
  const [alone, averaged] = [[], []] as [number[], number[]];
  for (const [i, task] of names.entries()) {
    alone.push(await lossOf(adapters[i], form, task));
    averaged.push(await lossOf(merged, form, task));
  }
  results[form] = { alone, averaged };
}
await engine.dispose();

const mean = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length;
const cells = (list: number[]) => list.map((x) => x.toFixed(3)).join(' | ');
const table = [
  `| held-out loss | ${names.join(' | ')} | mean | lost by averaging |`,
  `| --- | ${names.map(() => '---').join(' | ')} | --- | --- |`,
  ...Object.entries(results).flatMap(([form, { alone, averaged }]) => [
    `| ${form}, alone | ${cells(alone)} | ${mean(alone).toFixed(3)} | |`,
    `| ${form}, averaged | ${cells(averaged)} | ${mean(averaged).toFixed(3)} | ${(mean(averaged) - mean(alone)).toFixed(3)} |`,
  ]),
].join('\n');
writeFileSync(join(OUT, 'merging.json'), `${JSON.stringify(results, null, 2)}\n`);
writeFileSync(join(OUT, 'merging.md'), `${table}\n`);
console.log(table);
