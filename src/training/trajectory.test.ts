import { expect, it } from 'vitest';
import { tinySetup, tinyUpdater } from '../../tests/training/tiny.ts';
import { type Batch, layOut, START } from '../data/index.ts';
import { checkpointFrom, openTensorFile } from '../formats/index.ts';
import type { NDArray } from '../graph/index.ts';
import { type Model, modelFrom } from '../models/index.ts';
import { batchShape } from './batch-feeds.ts';
import { schedule } from './schedules.ts';

interface Trajectory {
  readonly model: Model;
  readonly batches: readonly Batch[];
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly settings: { rate: number; weightDecay: number; clip: number; warmup: number };
}

/** What scripts/reference/training/trajectories.py recorded. */
async function recorded(name: string): Promise<Trajectory> {
  const path = new URL(`../../tests/golden/training/trajectory-${name}.safetensors`, import.meta.url)
    .pathname;
  const file = await openTensorFile(path);
  const weights = [...file.tensors.keys()].filter((key) => key.startsWith('weight/'));
  const tensors = await Promise.all(
    weights.map(async (key) => {
      const array = await file.read(key);
      return { name: key.slice('weight/'.length), shape: array.shape, read: () => array };
    }),
  );
  const numbers = async (key: string) => Array.from(await file.read(key).then((a) => a.data), Number);
  const result = {
    model: await modelFrom(checkpointFrom(name, { config: JSON.parse(file.metadata.config), tensors })),
    batches: batchesOf(await file.read('ids'), await file.read('labels')),
    losses: await numbers('losses'),
    norms: await numbers('norms'),
    settings: JSON.parse(file.metadata.settings),
  };
  await file.close();
  return result;
}

function batchesOf(ids: NDArray, labels: NDArray): Batch[] {
  const [steps, rows, length] = ids.shape;
  const part = (a: NDArray, at: number) =>
    Int32Array.from({ length }, (_, t) => Number(a.data[at * length + t]));
  return Array.from({ length: steps }, (_, step) => {
    const documents = Array.from({ length: rows }, (_, r) => [
      { inputIds: part(ids, step * rows + r), labels: part(labels, step * rows + r) },
    ]);
    return { ...layOut(documents, length), epoch: 0, next: START };
  });
}

it.each([
  ['llama', 'whole'],
  ['llama', 'blockwise'],
  ['gpt2', 'whole'],
  ['gpt2', 'blockwise'],
] as const)(
  '%s, %s: twenty updates lose what transformers with torch’s AdamW lose',
  async (name, execution) => {
    const { model, batches, losses, norms, settings } = await recorded(name);
    const setup = await tinySetup(model);
    const { rate, clip, warmup, weightDecay } = settings;
    const { update } = tinyUpdater(setup, {
      execution,
      batches,
      clip,
      shape: batchShape(batches[0].shape, { labelled: false, causal: true, packed: false, pairs: false }),
      rate: schedule({ kind: 'linear', peak: rate, total: losses.length, warmup }),
      optimizerOptions: { weightDecay },
    });
    for (const [step, loss] of losses.entries()) {
      const report = await update();
      expect(Math.abs(report.loss / loss - 1), `loss of update ${step + 1}`).toBeLessThan(1e-4);
      expect(Math.abs(report.norm / norms[step] - 1), `norm of update ${step + 1}`).toBeLessThan(1e-3);
    }
    await setup.engine.dispose();
  },
);
