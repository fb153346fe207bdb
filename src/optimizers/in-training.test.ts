import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { furthest, tinyBatch, tinyModel, tinySetup, tinyUpdater } from '../../tests/training/tiny.ts';
import {
  contents,
  runTiny,
  temporaryFolder,
  tinyFolder,
  tinyTexts,
  writeRows,
} from '../../tests/training/tiny-folder.ts';
import { batchShape } from '../training/batch-feeds.ts';

const methods = {
  galore: { rank: 4, gap: 3 },
  fira: { rank: 4, gap: 3 },
  frugal: { gap: 2 },
  'adam-8bit': { smallest: 64 },
} as const;
const names = Object.keys(methods) as (keyof typeof methods)[];

describe('a run that stops and goes on', () => {
  const folder = temporaryFolder();
  let model = '';
  let train = '';
  beforeAll(async () => {
    model = await tinyFolder(folder, 'llama-tied');
    train = writeRows(join(folder, 'texts.jsonl'), tinyTexts(12));
  });

  it.each(names)('%s: leaves the bytes of one that was never stopped, layer by layer', async (method) => {
    const recipe = {
      model,
      data: train,
      adapter: 'full',
      optimizer: { method, ...methods[method] },
      execution: 'blockwise',
      rate: 1e-2,
      batch: 3,
      steps: 6,
      clip: 0,
    } as const;
    const at = (name: string) => join(folder, `${method}-${name}`);
    const whole = await runTiny({ ...recipe, output: at('whole') });
    // Stops amid a turn of the blocks and between two bases.
    await runTiny({ ...recipe, output: at('broken') }, { stopAfter: 3 });
    const resumed = await runTiny({ ...recipe, output: at('broken') }, { mode: 'resume' });
    expect(contents(resumed.artifact!)).toEqual(contents(whole.artifact!));
  });
});

it.each(names)('%s: updates layer by layer as with all gradients at once, and learns', async (method) => {
  const batches = [tinyBatch(4, 12)];
  const kind = { labelled: false, causal: true, packed: false, pairs: false };
  const shape = batchShape(batches[0].shape, kind);
  const trained = async (execution: 'whole' | 'blockwise') => {
    const setup = await tinySetup(tinyModel('gpt2'));
    const { update } = tinyUpdater(setup, {
      execution,
      batches,
      shape,
      optimizer: method,
      optimizerOptions: methods[method],
    });
    const losses: number[] = [];
    for (let t = 0; t < 12; t++) losses.push((await update()).loss);
    await setup.engine.dispose();
    return { losses, arrays: setup.trainables.map((t) => t.array) };
  };
  const [whole, blockwise] = [await trained('whole'), await trained('blockwise')];
  expect(whole.losses[11]).toBeLessThan(0.8 * whole.losses[0]);
  blockwise.losses.forEach((loss, t) => {
    expect(loss).toBeCloseTo(whole.losses[t], 2);
  });
  expect(furthest(blockwise.arrays, whole.arrays)).toBeLessThan(0.05);
});
