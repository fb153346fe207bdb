import { afterAll, describe, expect, it } from 'vitest';
import {
  batchFeeds,
  batchInputs,
  type GoldenModel,
  goldenLoss,
  goldenModel,
  goldenModelNames,
  isToken,
  outputTensor,
} from '../../tests/golden-models.ts';
import { createEngine } from '../engine/index.ts';
import type { NDArray } from '../graph/array.ts';
import { gradients, program, type Tensor } from '../graph/index.ts';
import { forward, type HeadOutput, traceContext } from './index.ts';

const engine = createEngine({ threads: 1 });
afterAll(async () => (await engine).dispose());

async function run(
  golden: GoldenModel,
  outputs: Record<string, Tensor>,
  feeds: Record<string, NDArray>,
): Promise<Record<string, NDArray>> {
  const executable = await (await engine).compile(program(outputs));
  const weights = Object.fromEntries(golden.model.weights);
  const all = { ...weights, ...feeds };
  return executable.run(Object.fromEntries(executable.inputs.map(({ name }) => [name, all[name]])));
}

function trace(golden: GoldenModel, feeds: Record<string, NDArray>) {
  const context = traceContext(golden.model.architecture);
  const head: HeadOutput = forward(golden.model.architecture, context, batchInputs(feeds));
  return { context, head };
}

function maxError(golden: GoldenModel, result: NDArray): number {
  const { output } = golden;
  expect(result.shape).toEqual(output.shape);
  let worst = 0;
  for (let i = 0; i < output.data.length; i++)
    if (isToken(golden, i))
      worst = Math.max(worst, Math.abs(Number(output.data[i]) - Number(result.data[i])));
  return worst;
}

describe.each(goldenModelNames())('%s, as transformers runs it', (name) => {
  it('reads every tensor and leaves none', async () => {
    const { model } = await goldenModel(name);
    const poolers = model.notices.filter((notice) => !/Not used for embedding: pooler/.test(notice));
    expect(poolers).toEqual([]);
    for (const [parameter, spec] of model.architecture.parameters)
      expect(model.weights.get(parameter)?.shape, parameter).toEqual(spec.shape);
  });

  it('gives the same output', async () => {
    const golden = await goldenModel(name);
    const feeds = batchFeeds(golden);
    const { output } = await run(golden, { output: outputTensor(trace(golden, feeds).head) }, feeds);
    expect(maxError(golden, output)).toBeLessThan(1e-4);
  });

  it('gives the same output with positions fed', async () => {
    const golden = await goldenModel(name);
    const feeds = batchFeeds(golden, { positions: true });
    const { output } = await run(golden, { output: outputTensor(trace(golden, feeds).head) }, feeds);
    expect(maxError(golden, output)).toBeLessThan(1e-4);
  });

  it('gives the same gradients', async () => {
    const golden = await goldenModel(name);
    const feeds = batchFeeds(golden);
    const { context, head } = trace(golden, feeds);
    const { loss, feeds: more } = goldenLoss(golden, head);
    const names = Object.keys(golden.gradients);
    const slopes = gradients(
      loss,
      names.map((n) => context.parameter(n)),
    );
    const outputs = { loss, ...Object.fromEntries(names.map((n, i) => [n, slopes[i]])) };
    const results = await run(golden, outputs, { ...feeds, ...more });
    expect(Number(results.loss.data[0])).toBeCloseTo(golden.loss, 4);
    for (const n of names) expect(relativeError(results[n], golden.gradients[n]), n).toBeLessThan(1e-4);
  });
});

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
