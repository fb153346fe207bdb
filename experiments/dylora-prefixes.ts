/**
 * What every prefix of a rank-8 adapter is worth: DyLoRA served at b ranks, and LoRA r=8 cut to b, scaled by α/8 and by
 * α/b. Takes the tuned runs of the study `dylora` and writes `prefixes.json` and `prefixes.md` beside its report.
 *
 *     npx rankine compare experiments/adapters/dylora.yaml --yes
 *     npx tsx experiments/dylora-prefixes.ts [experiments/results/dylora]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createEngine } from '../src/engine/index.ts';
import type { StudyResult, StudyRun } from '../src/studies/index.ts';
import { scoreModel } from '../src/studies/score.ts';
import { openTrainedRun, type Recipe } from '../src/training/index.ts';

const RANK = 8;
const folder = process.argv[2] ?? 'experiments/results/dylora';
const { test } = JSON.parse(readFileSync(join(folder, 'study.json'), 'utf8'));
const result: StudyResult = JSON.parse(readFileSync(join(folder, 'result.json'), 'utf8'));
const engine = await createEngine({ threads: 2 });

type Cut = (recipe: Recipe, b: number) => { recipe: Recipe; scale?: number };
const served: Cut = (recipe, b) => {
  const options = { ...recipe.adapter.options, servedRank: b };
  return { recipe: { ...recipe, adapter: { ...recipe.adapter, options } } };
};
const cutKept: Cut = (recipe) => ({ recipe, scale: 1 });
const cutScaled: Cut = (recipe, b) => ({ recipe, scale: RANK / b });

async function loss({ recipe }: StudyRun, cut: Cut, b: number): Promise<number> {
  const { recipe: as, scale } = cut(recipe, b);
  const run = await openTrainedRun(engine, recipe.output, as);
  if (scale !== undefined)
    for (const { trainable } of run.adaptation!.layers) {
      const { A } = trainable;
      const width = A.shape[1];
      for (let i = 0; i < A.data.length; i++) A.data[i] = i < b * width ? Number(A.data[i]) * scale : 0;
    }
  const { scores } = await scoreModel({ engine, ...run }, as, { test, metrics: ['loss'] });
  return scores[0].mean;
}

const rows: Record<string, number[]> = {};
for (const { label, runs } of result.methods.filter((m) => m.treatment === 'tuned')) {
  const cuts: [string, Cut][] = label.startsWith('DyLoRA')
    ? [[label, served]]
    : [
        [`${label} cut, α/8`, cutKept],
        [`${label} cut, α/b`, cutScaled],
      ];
  for (const [name, cut] of cuts)
    for (let b = 1; b <= RANK; b++) {
      const losses = [];
      for (const run of runs.filter((r) => r.state === 'done')) losses.push(await loss(run, cut, b));
      rows[name] = [...(rows[name] ?? []), losses.reduce((x, y) => x + y, 0) / losses.length];
    }
}
await engine.dispose();

const ranks = Array.from({ length: RANK }, (_, i) => i + 1);
const table = [
  `| held-out loss at b ranks | ${ranks.join(' | ')} |`,
  `| --- | ${ranks.map(() => '---').join(' | ')} |`,
  ...Object.entries(rows).map(([name, l]) => `| ${name} | ${l.map((x) => x.toFixed(3)).join(' | ')} |`),
].join('\n');
writeFileSync(join(folder, 'prefixes.json'), `${JSON.stringify(rows, null, 2)}\n`);
writeFileSync(join(folder, 'prefixes.md'), `${table}\n`);
console.log(table);
