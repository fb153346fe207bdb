/**
 * Link prediction in a tree with Lorentz linear layers of width 16: which of its forms does W of such a layer learn in?
 * The small hyperbolic experiment of SST (arXiv 2405.15481): full > SST > LoRA and ReLoRA from a random start.
 *
 *     npx tsx experiments/hyperbolic/run.ts [STEPS]
 *
 * Best of three rates by the mean AUC of two seeds.
 */
import { createEngine } from '../../src/engine/index.ts';
import { type LinkRun, linkPrediction } from './links.ts';

const steps = Number(process.argv[2] ?? 400);
const rank = 2;
/** SST decomposes after about every vector was sampled once; ReLoRA merges as often. */
const every = Math.max(1, Math.floor(steps / 20));
const forms: Record<string, LinkRun['form']> = {
  full: undefined,
  sst: { method: 'sst', options: { rank, every, warmup: 5 } },
  lora: { method: 'lora', options: { rank } },
  relora: { method: 'relora', options: { rank, every: 4 * every, warmup: 5 } },
  sltrain: { method: 'sltrain', options: { rank, alpha: rank, density: 0.05 } },
};
const rates = [3e-3, 1e-2, 3e-2];
const seeds = [1, 2];

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const engine = await createEngine({ threads: 1 });
console.log('form      trained  rate    loss   AUC held out (each seed)');
for (const [name, form] of Object.entries(forms)) {
  const tried = [];
  for (const rate of rates) {
    const scores = [];
    for (const seed of seeds) scores.push(await linkPrediction(engine, { form, rate, steps, seed }));
    tried.push({ rate, scores });
  }
  const aucs = (of: (typeof tried)[number]) => of.scores.map((s) => s.auc);
  const { rate, scores } = tried.reduce((a, b) => (mean(aucs(b)) > mean(aucs(a)) ? b : a));
  const each = scores.map((s) => s.auc.toFixed(3)).join(', ');
  const loss = mean(scores.map((s) => s.loss)).toFixed(3);
  const auc = mean(scores.map((s) => s.auc)).toFixed(3);
  console.log(
    `${name.padEnd(10)}${scores[0].trainable}`.padEnd(19),
    `${rate}`.padEnd(7),
    loss,
    ` ${auc} (${each})`,
  );
}
await engine.dispose();
