/**
 * Times training steps of one shape with random weights and prints one JSON line.
 *   tsx bench/step.ts CASE [--execution whole|blockwise] [--steps N]
 */
import { parseArgs } from 'node:util';
import { forms } from '../src/adapters/index.ts';
import { createEngine } from '../src/engine/index.ts';
import { random } from '../src/linalg/index.ts';
import { createModel } from '../src/models/index.ts';
import { optimizers } from '../src/optimizers/index.ts';
import { adapt } from '../src/training/adaptation.ts';
import { type BatchShape, batchFeeds } from '../src/training/batch-feeds.ts';
import { blockwiseExecution } from '../src/training/blockwise.ts';
import { residentMemory } from '../src/training/memory.ts';
import { byName } from '../src/training/recipe-errors.ts';
import { trainables } from '../src/training/trainables.ts';
import { createUpdates } from '../src/training/updates.ts';
import { wholeExecution } from '../src/training/whole.ts';
import { cases } from './cases.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    execution: { type: 'string', default: 'whole' },
    steps: { type: 'string', default: '8' },
    threads: { type: 'string', default: '2' },
  },
});
const bench = cases[positionals[0]];
if (!bench) throw new Error(`cases: ${Object.keys(cases).join(', ')}`);

const engine = await createEngine({ threads: Number(values.threads) });
const model = createModel(bench.config as Parameters<typeof createModel>[0], 'language-modelling', 0);
const form = bench.adapter && byName(forms, bench.adapter.method, 'adapter', []);
const adaptation =
  form &&
  (await adapt(model, form, form.options.parse(bench.adapter!.options), { seed: 0, firstRate: 1e-4 }));
const list = trainables(model, adaptation);
const setup = { engine, model, adaptation, trainables: list, seed: 0 };
const adamw = byName(optimizers, 'adamw', 'optimizer', []);
const updates = createUpdates(engine, adamw, adamw.options.parse({}), list, 0);
const execution =
  values.execution === 'blockwise'
    ? blockwiseExecution(setup, { shareGradients: true })
    : wholeExecution(setup);

const [rows, length] = bench.batch;
const shape: BatchShape = { rows, length, segments: false, positions: false, types: false, labelled: false };
const cursor = random(0, 'bench').cursor();
const ids = Int32Array.from({ length: rows * length }, () => cursor.integer(bench.config.vocab_size));
const batch = {
  shape: bench.batch,
  inputIds: ids,
  targets: ids,
  segmentIds: ids,
  positionIds: ids,
  tokens: rows * length,
  targetCount: rows * length,
  epoch: 0,
  next: { epoch: 0, index: 0, part: 0 },
};
const feeds = batchFeeds(batch, shape, rows * length);
const ruleOf = new Map(updates.rules.flatMap((r) => r.parameters.map((p) => [p.name, r] as const)));

const times: number[] = [];
let loss = 0;
for (let step = 0; step < Number(values.steps); step++) {
  const start = performance.now();
  loss = await execution.step(feeds, shape, step, {
    consume: (name, gradient) =>
      updates.apply(ruleOf.get(name)!, [gradient], { rate: 1e-4, step: step + 1, clip: 1 }),
  });
  times.push(performance.now() - start);
}
/** Floating-point operations that an update needs: products of weights and of attention; a recomputed forward is none. */
function usefulFlops(): number {
  const { layers } = model.architecture;
  const width = Number(bench.config.hidden_size ?? bench.config.n_embd);
  const depth = Number(bench.config.num_hidden_layers ?? bench.config.n_layer);
  const linear = layers.filter((l) => l.kind === 'linear' && l.out !== bench.config.vocab_size);
  const weights = linear.reduce((n, l) => n + l.out * l.in, 0) + bench.config.vocab_size * width;
  // Forward and the gradient of the input; of trained weights theirs too.
  const passes = form ? 2 : 3;
  return 2 * rows * length * weights * passes + 3 * 4 * rows * length * length * width * depth;
}

const warm = times.slice(2).sort((a, b) => a - b);
const median = warm[Math.floor(warm.length / 2)];
console.log(
  JSON.stringify({
    case: positionals[0],
    execution: values.execution,
    milliseconds: median,
    tokensPerSecond: (1000 * rows * length) / median,
    gigaflops: usefulFlops() / median / 1e6,
    peakMegabytes: residentMemory().peak / 1e6,
    first: times[0],
    loss,
    trainable: list.reduce((n, t) => n + t.array.data.length, 0),
  }),
);
await engine.dispose();
