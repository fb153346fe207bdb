import { cpSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { lazyTensors, writeCheckpoint } from '../../src/formats/index.ts';
import { createModel, type Task } from '../../src/models/index.ts';
import { parseRecipe, type RecipeInput } from '../../src/training/recipe.ts';
import { runRecipe, type TrainEvent, type TrainResult } from '../../src/training/run.ts';
import type { RunFolderMode } from '../../src/training/run-folder.ts';
import { type TinyName, tinyConfigs } from './tiny.ts';

const base = new URL('../../quickstart/base/', import.meta.url).pathname;

/** A folder that goes when the tests of the file are done. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'rankine-'));
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A tiny model as a folder, with the quickstart's tokenizer of 2,048 tokens. */
export async function tinyFolder(folder: string, name: TinyName, task?: Task): Promise<string> {
  const path = join(folder, name);
  const config = { ...tinyConfigs[name], vocab_size: 2048 };
  const { weights } = createModel(config, task, 11);
  await writeCheckpoint(path, config, lazyTensors(Object.fromEntries(weights)), {});
  for (const file of ['tokenizer.json', 'tokenizer_config.json']) cpSync(join(base, file), join(path, file));
  return path;
}

export function writeRows(path: string, rows: readonly Record<string, unknown>[]): string {
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return path;
}

/** Short texts, all different. */
export function tinyTexts(count: number): { text: string }[] {
  return Array.from({ length: count }, (_, i) => ({
    text: `The number ${i} comes before ${i + 1}${'!'.repeat(i % 5)}`,
  }));
}

export interface TinyResult extends TrainResult {
  readonly events: readonly TrainEvent[];
}

/** Runs a recipe in this thread. @param stopAfter asks the run to stop after that update */
export async function runTiny(
  recipe: RecipeInput,
  options: { mode?: RunFolderMode; stopAfter?: number } = {},
): Promise<TinyResult> {
  const events: TrainEvent[] = [];
  let step = 0;
  const result = await runRecipe(parseRecipe({ threads: 1, ...recipe }), options.mode ?? 'new', {
    emit(event) {
      events.push(event);
      if (event.type === 'step') step = event.step;
    },
    stopped: () => step === options.stopAfter,
  });
  return { ...result, events };
}

/** The metrics that do not depend on the clock, as they stand in the file. */
export function computedMetrics(output: string): string[] {
  const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n');
  return lines.filter((line) => !('time' in JSON.parse(line)));
}

export function metric(output: string, name: string): { step: number; value: number }[] {
  return computedMetrics(output)
    .map((line) => JSON.parse(line))
    .filter((record) => record.name === name);
}

/** Every file of a folder with its bytes. */
export function contents(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((e) => e.isFile());
  return Object.fromEntries(
    files.map((e) => {
      const path = join(e.parentPath, e.name);
      return [path.slice(folder.length + 1), readFileSync(path, 'base64')];
    }),
  );
}
