import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  furthest,
  type TinyAdapter,
  tinyBatch,
  tinyModel,
  tinySetup,
  tinyUpdater,
} from '../../tests/training/tiny.ts';
import {
  contents,
  runTiny,
  temporaryFolder,
  tinyFolder,
  tinyTexts,
  writeRows,
} from '../../tests/training/tiny-folder.ts';
import { batchShape } from '../training/batch-feeds.ts';

interface Case {
  readonly method: string;
  readonly options: Record<string, unknown>;
  /** Default: every weight. */
  readonly adapter?: TinyAdapter;
}

const lora = { method: 'lora', options: { rank: 4, alpha: 4 } };
const cases: readonly Case[] = [
  { method: 'galore', options: { rank: 4, gap: 3 } },
  { method: 'fira', options: { rank: 4, gap: 3 } },
  { method: 'frugal', options: { gap: 2 } },
  { method: 'frugal', options: { gap: 2, bits: 8, smallest: 64 } },
  { method: 'frugal', options: { gap: 2, bits: 8, smallest: 64, split: 'columns', density: 0.5 } },
  { method: 'adam-8bit', options: { smallest: 64 } },
  { method: 'adafactor', options: { beta1: 0.9 } },
  { method: 'apollo', options: { rank: 4, gap: 3, scale: 4 } },
  { method: 'badam', options: { gap: 2, order: 'descending' } },
  { method: 'gradnormlorp', options: { rank: 4, gap: 3 } },
  {
    method: 'gradnormlorp',
    options: { gap: 3, scale: 4 },
    adapter: { method: 'dora', options: { rank: 4 } },
  },
  { method: 'lora-pro', options: {}, adapter: lora },
  { method: 'lora-pro', options: { moments: 'light' }, adapter: { ...lora, method: 'dora' } },
  { method: 'allora', options: { cap: 4 }, adapter: lora },
];
const onForm = ({ adapter }: Case) => adapter?.method ?? 'full';
const named = cases.map((c, i) => ({ ...c, form: onForm(c), at: `${i}` }));

describe('a run that stops and goes on', () => {
  const folder = temporaryFolder();
  let model = '';
  let train = '';
  beforeAll(async () => {
    model = await tinyFolder(folder, 'llama-tied');
    train = writeRows(join(folder, 'texts.jsonl'), tinyTexts(12));
  });

  it.each(named)(
    '$method $options on $form: leaves the bytes of one that was never stopped, layer by layer',
    async (c) => {
      const recipe = {
        model,
        data: train,
        adapter: c.adapter ? { method: c.adapter.method, ...c.adapter.options } : 'full',
        optimizer: { method: c.method, ...c.options },
        execution: 'blockwise',
        rate: 1e-2,
        batch: 3,
        steps: 6,
        clip: 0,
      } as const;
      const at = (name: string) => join(folder, `${c.at}-${name}`);
      const whole = await runTiny({ ...recipe, output: at('whole') });
      // Stops amid a turn of the blocks and between two bases.
      await runTiny({ ...recipe, output: at('broken') }, { stopAfter: 3 });
      const resumed = await runTiny({ ...recipe, output: at('broken') }, { mode: 'resume' });
      expect(contents(resumed.artifact!)).toEqual(contents(whole.artifact!));
    },
  );
});

it.each(named)(
  '$method $options on $form: updates layer by layer as with all gradients at once, and learns',
  async (c) => {
    const batches = [tinyBatch(4, 12)];
    const kind = { labelled: false, causal: true, packed: false, pairs: false };
    const shape = batchShape(batches[0].shape, kind);
    const trained = async (execution: 'whole' | 'blockwise') => {
      const setup = await tinySetup(tinyModel('gpt2'), c.adapter);
      const { update } = tinyUpdater(setup, {
        execution,
        batches,
        shape,
        optimizer: c.method,
        optimizerOptions: c.options,
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
  },
);
