import { afterAll, describe, expect, it } from 'vitest';
import {
  batchFeeds,
  type GoldenModel,
  goldenLoss,
  goldenModel,
  goldenModelNames,
  isToken,
  outputTensor,
} from '../../tests/golden-models.ts';
import { engine, runModel } from '../../tests/models/run.ts';
import type { NDArray } from '../graph/array.ts';
import { gradients } from '../graph/index.ts';
import { forward } from './index.ts';

afterAll(async () => (await engine()).dispose());

async function maxError(golden: GoldenModel, feeds: Record<string, NDArray>): Promise<number> {
  const { architecture } = golden.model;
  const result = await runModel(golden.model, feeds, (c, batch) => ({
    output: outputTensor(forward(architecture, c, batch)),
  }));
  const { output } = golden;
  expect(result.output.shape).toEqual(output.shape);
  const difference = (i: number) => Math.abs(Number(output.data[i]) - Number(result.output.data[i]));
  let worst = 0;
  for (let i = 0; i < output.data.length; i++) if (isToken(golden, i)) worst = Math.max(worst, difference(i));
  return worst;
}

/** ‖a − b‖ / ‖b‖. */
function relativeError(a: NDArray, b: NDArray): number {
  expect(a.shape).toEqual(b.shape);
  let [difference, norm] = [0, 0];
  for (let i = 0; i < b.data.length; i++) {
    difference += (Number(a.data[i]) - Number(b.data[i])) ** 2;
    norm += Number(b.data[i]) ** 2;
  }
  expect(norm).toBeGreaterThan(1e-6);
  return Math.sqrt(difference / norm);
}

describe.each(goldenModelNames())('%s, as transformers runs it', (name) => {
  it('reads every tensor and leaves none', async () => {
    const { model } = await goldenModel(name);
    expect(model.notices.filter((notice) => !/Not used for embedding: pooler/.test(notice))).toEqual([]);
    for (const [parameter, spec] of model.architecture.parameters)
      expect(model.weights.get(parameter)?.shape, parameter).toEqual(spec.shape);
  });

  it('gives the same output', async () => {
    const golden = await goldenModel(name);
    expect(await maxError(golden, batchFeeds(golden))).toBeLessThan(1e-4);
  });

  it('gives the same output with positions fed', async () => {
    const golden = await goldenModel(name);
    expect(await maxError(golden, batchFeeds(golden, { positions: true }))).toBeLessThan(1e-4);
  });

  it('gives the same loss and gradients', async () => {
    const golden = await goldenModel(name);
    const names = Object.keys(golden.gradients);
    const { model } = golden;
    const feeds = { ...batchFeeds(golden), ...golden.targets };
    const results = await runModel(model, feeds, (c, batch) => {
      const loss = goldenLoss(golden, forward(model.architecture, c, batch));
      const slopes = gradients(
        loss,
        names.map((n) => c.parameter(n)),
      );
      return { loss, ...Object.fromEntries(names.map((n, i) => [n, slopes[i]])) };
    });
    expect(Number(results.loss.data[0])).toBeCloseTo(golden.loss, 4);
    for (const n of names) expect(relativeError(results[n], golden.gradients[n]), n).toBeLessThan(1e-4);
  });
});
