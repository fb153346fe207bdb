import { join } from 'node:path';
import { expect, it } from 'vitest';
import {
  runTiny,
  temporaryFolder,
  tinyFolder,
  tinyTexts,
  writeRows,
} from '../../tests/training/tiny-folder.ts';
import type { RecipeInput } from './recipe.ts';

const folder = temporaryFolder();
const llama = await tinyFolder(folder, 'llama');
const texts = writeRows(join(folder, 'texts.jsonl'), tinyTexts(4));
let runs = 0;

/** What a run of one update says of modules that stay as they were drawn. */
async function said(init: 'random' | 'pretrained', adapter: RecipeInput['adapter']): Promise<string[]> {
  const { events } = await runTiny({
    model: { path: llama, init },
    data: texts,
    adapter,
    steps: 1,
    output: join(folder, `run-${runs++}`),
  });
  return events.flatMap((e) => (e.type === 'notice' && /as they were drawn/.test(e.text) ? [e.text] : []));
}

it('names the modules that a form leaves at random values, and the remedy', async () => {
  const names = 'model.embed_tokens, lm_head';
  expect(await said('random', { method: 'low-rank', rank: 2 })).toEqual([
    `low-rank: the model starts at random, and these modules stay as they were drawn: ${names}. To train them in full, name them in adapter.modulesToSave: [${names}].`,
  ]);
  const modulesToSave = names.split(', ');
  expect(await said('random', { method: 'low-rank', rank: 2, modulesToSave })).toEqual([]);
});

it('counts layers that are no targets, by their name in all blocks', async () => {
  const targets = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj'];
  const modulesToSave = ['embed_tokens', 'lm_head'];
  const [text] = await said('random', { method: 'lora', rank: 2, targets, modulesToSave });
  expect(text).toMatch(/drawn: mlp\.down_proj\. .* adapter\.modulesToSave: \[mlp\.down_proj\]/);
});

it('is silent where all is trained, and where the weights are those of a checkpoint', async () => {
  expect(await said('random', 'full')).toEqual([]);
  expect(await said('pretrained', { method: 'lora', rank: 2 })).toEqual([]);
  const [text] = await said('random', { method: 'full', modules: ['layers'] });
  expect(text).toMatch(/^full: .* adapter\.modules: \[model\.embed_tokens, lm_head\]/);
});
