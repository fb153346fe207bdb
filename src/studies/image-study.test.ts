import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encode } from 'fast-png';
import { beforeAll, expect, test } from 'vitest';
import { temporaryFolder } from '../../tests/training/tiny-folder.ts';
import { lazyTensors, writeCheckpoint } from '../formats/index.ts';
import { createModel } from '../models/index.ts';
import { planStudy } from './budget.ts';
import { studyMethods } from './methods.ts';
import { runStudy } from './run-study.ts';
import { parseStudy } from './study.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const HEAD = { label: 'head', adapter: { method: 'full', modules: ['classifier'] } };

/** Images of one shade each, in a folder of their class. */
function writeShades(name: string, shades: Record<string, number>): void {
  for (const [label, shade] of Object.entries(shades)) {
    mkdirSync(at(`${name}/${label}`), { recursive: true });
    for (let i = 0; i < 4; i++) {
      const data = new Uint8Array(64).fill(shade + i);
      const png = encode({ width: 8, height: 8, channels: 1, depth: 8, data });
      writeFileSync(at(`${name}/${label}/${i}.png`), png);
    }
  }
}

const study = (changes: Record<string, unknown> = {}) =>
  parseStudy({
    name: 'shades',
    recipe: {
      model: at('vit'),
      data: { train: at('shades'), validation: at('shades') },
      ...{ batch: 8, steps: 12, rate: 0.5, threads: 1 },
    },
    methods: [HEAD],
    test: at('shades'),
    seeds: 1,
    output: at('study'),
    ...changes,
  });

/** A base of as many classes as the data, but others. */
beforeAll(async () => {
  const config = {
    ...{ model_type: 'vit', architectures: ['ViTForImageClassification'] },
    ...{ hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 8 },
    ...{ image_size: 8, patch_size: 4, id2label: { 0: 'round', 1: 'square' } },
  };
  const { weights } = createModel(config, undefined, 1);
  await writeCheckpoint(at('vit'), config, lazyTensors(Object.fromEntries(weights)), {});
  writeShades('shades', { dark: 0, light: 250 });
  writeShades('four', { black: 0, dark: 80, light: 160, white: 250 });
});

test('a base of other classes gets those of the images; tuning keeps the more accurate rate, also where losses decide', async () => {
  const tuning = { trials: 1, rate: [1e-9, 1.1e-9] };
  const state = await runStudy(study({ tuning, metrics: ['accuracy'] }), {
    ...{ emit: () => {}, confirm: async () => true, signal: new AbortController().signal },
  });
  expect(state!.base).toBeUndefined();
  expect(state!.tuned.get('head')).toEqual({});
  const [run] = state!.runs.filter((r) => r.purpose === 'tuned');
  expect(run).toMatchObject({ state: 'done', trainable: 2 * 8 + 2, validation: 1 });
  expect(run.scores!.map(({ metric, mean }) => [metric, mean < 0.7 || mean === 1])).toEqual([
    ['loss', true],
    ['accuracy', true],
  ]);
}, 60_000);

test('a budget counts the head that the images ask for', async () => {
  const recipe = { model: at('vit'), data: at('four'), steps: 1 };
  const [{ row }] = await planStudy(study({ recipe }), studyMethods(study()));
  expect(row.trainable).toBe(4 * 8 + 4);
});
