/**
 * Trains a model of random weights for a few updates and prints {predicted, measured} peaks in bytes; a process of its
 * own, because the peak of resident memory never falls.
 *   tsx tests/training/measured-peak.ts '{"config": …, "rows": 4, "length": 64, "execution": "whole", "clip": 1}'
 */
import { createEngine } from '../../src/engine/index.ts';
import { createModel, type ModelConfig } from '../../src/models/index.ts';
import { batchShape } from '../../src/training/batch-feeds.ts';
import { estimateMemory } from '../../src/training/estimate.ts';
import { residentMemory } from '../../src/training/memory.ts';
import { type TinyAdapter, tinyBatch, tinySetup, tinyUpdater } from './tiny.ts';

const given = JSON.parse(process.argv[2]) as {
  config: ModelConfig;
  adapter?: TinyAdapter;
  rows: number;
  length: number;
  execution: 'whole' | 'blockwise';
  clip: number;
  updates?: number;
};
const engine = await createEngine({ threads: 1 });
const setup = await tinySetup(createModel(given.config, 'language-modelling', 0), given.adapter, engine);
const batch = tinyBatch(given.rows, given.length);
const shape = batchShape(batch.shape, { labelled: false, causal: true, packed: false, pairs: false });
const { execution, clip } = given;
const { update, live } = tinyUpdater(setup, { execution, batches: [batch], shape, clip, rate: 1e-4 });
for (let i = 0; i < (given.updates ?? 3); i++) await update();
const measured = residentMemory().peak;
const parts = estimateMemory(setup, live.updates.rules, shape, {
  execution,
  together: clip > 0,
  sums: false,
  evaluates: false,
});
console.log(JSON.stringify({ predicted: parts.peak, measured, parts }));
await engine.dispose();
