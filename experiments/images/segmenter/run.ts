/**
 * The small experiment of SALT's card: a segmenter of 2.2 M weights trained on drawn shapes, adapted to 30 pieces of
 * tissue in which membranes are to be found (thin dark curves; ISBI 2012), judged by Dice on sections of the same stack
 * that it never saw. SALT ≥ LoRA and S-SAM is expected. Writes `report.md` and `result.json`.
 *
 *     npx tsx experiments/images/segmenter/run.ts [DATA]
 *
 * Every method at the default rate and three drawn ones; the best on validation sections is its own. The head is trained by
 * all. DATA defaults to `RANKINE_DATA` or `../shared/data`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createEngine } from '../../../src/engine/index.ts';
import { random } from '../../../src/linalg/index.ts';
import { mean } from '../../../src/studies/statistics.ts';
import { drawPieces, PARTS, pieces, readSections } from './membranes.ts';
import { segmenter } from './model.ts';
import { type Result, type Row, type Run, segmenterReport } from './report.ts';
import { shapes } from './shapes.ts';
import { diceOf, drawFrom, type Treatment, trainSegmenter } from './training.ts';

const OUT = 'experiments/results/salt-images';
const SEEDS = [1, 2, 3];
const [LOWEST, HIGHEST] = [5e-4, 5e-2];
/** The default, and one drawn log-uniformly from each third of the range: methods' best rates lie far apart. */
const RATES = [2e-3, ...[0, 1, 2].map(drawRate)];
const [BATCH, STEPS, EACH] = [8, 80, 3];
const BASE = { rate: 1e-3, steps: 500, batch: 8, seed: 1 };

const everywhere = '.*(qkv|proj|fc1|fc2|patch|neck)';
const METHODS: Record<string, Treatment['form']> = {
  'LoRA ρ=16': { method: 'lora', options: { rank: 16 } },
  'S-SAM (SALT, t = k)': { method: 'salt', options: { ratio: 1 } },
  'SALT ρ=8': { method: 'salt', options: { rank: 8, ratio: 0.1 } },
  'SALT ρ=8, convolutions too': { method: 'salt', options: { rank: 8, ratio: 0.1, targets: everywhere } },
  full: undefined,
};

function drawRate(third: number): number {
  const share = (third + random(SEEDS[0], `segmenter/rate/${third}`).cursor().uniform()) / 3;
  return Number((LOWEST * (HIGHEST / LOWEST) ** share).toPrecision(3));
}

const data =
  process.argv[2] ?? process.env.RANKINE_DATA ?? new URL('../../../../shared/data', import.meta.url).pathname;
const folder = join(data, 'vision/membrane');
const train = await readSections(folder, PARTS.train);
const valid = (await readSections(folder, PARTS.valid)).map(pieces);
const test = (await readSections(folder, PARTS.test)).map(pieces);

const engine = await createEngine({ threads: 1 });
const drawn = await trainSegmenter(engine, segmenter(BASE.seed), BASE, (step) =>
  shapes(BASE.seed, step * BASE.batch, BASE.batch),
);
const base = drawn.setup.model;
const onShapes = mean(await diceOf(drawn, [shapes(2, 0, 16)]));
const before = mean(await diceOf(drawn, test));
console.log(`base: Dice ${onShapes.toFixed(3)} of shapes, ${before.toFixed(3)} of membranes`);

/** Every run once: tuned and default runs of one rate are the same. */
const known = new Map<string, Run>();

async function run(method: string, rate: number, seed: number): Promise<Run> {
  const key = `${method}/${rate}/${seed}`;
  const earlier = known.get(key);
  if (earlier) return earlier;
  const few = drawPieces(train, EACH, seed);
  const treatment = { form: METHODS[method], rate, steps: STEPS, batch: BATCH, seed };
  const started = process.cpuUsage();
  const trained = await trainSegmenter(engine, base, treatment, drawFrom(few, BATCH, seed));
  const { user, system } = process.cpuUsage(started);
  const done: Run = {
    ...{ rate, seed, trainable: trained.trainable },
    valid: mean(await diceOf(trained, valid)),
    test: await diceOf(trained, test),
    seconds: (user + system) / 1e6,
  };
  known.set(key, done);
  console.log(`${key}: Dice ${done.valid.toFixed(3)}, test ${mean(done.test).toFixed(3)}`);
  return done;
}

async function study(method: string): Promise<Row> {
  const trials = [];
  for (const rate of RATES) trials.push(await run(method, rate, SEEDS[0]));
  const { rate } = trials.reduce((a, b) => (b.valid > a.valid ? b : a));
  const [runs, standard]: [Run[], Run[]] = [[], []];
  for (const seed of SEEDS) {
    runs.push(await run(method, rate, seed));
    standard.push(await run(method, RATES[0], seed));
  }
  return { method, rate, runs, standard };
}

const rows: Row[] = [];
for (const method of Object.keys(METHODS)) rows.push(await study(method));
await engine.dispose();

const settings = { seeds: SEEDS, rates: RATES, batch: BATCH, steps: STEPS, pieces: EACH * train.length };
const weights = [...base.weights.values()].reduce((n, array) => n + array.data.length, 0);
const result: Result = { settings, weights, baseline: { shapes: onShapes, membranes: before }, rows };
const report = segmenterReport(result);
mkdirSync(OUT, { recursive: true });
writeFileSync(join(OUT, 'report.md'), `${report}\n`);
writeFileSync(join(OUT, 'result.json'), `${JSON.stringify(result, null, 1)}\n`);
console.log(report);
