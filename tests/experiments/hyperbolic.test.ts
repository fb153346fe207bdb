import { afterAll, describe, expect, it } from 'vitest';
import { linkPrediction, rankedAbove } from '../../experiments/hyperbolic/links.ts';
import { treeModel } from '../../experiments/hyperbolic/model.ts';
import { makeTree, withNonEdges } from '../../experiments/hyperbolic/tree.ts';
import { type AdapterOptions, forms } from '../../src/adapters/index.ts';
import { createEngine } from '../../src/engine/index.ts';
import { type NDArray, program, type Tensor } from '../../src/graph/index.ts';
import { forward, traceContext } from '../../src/models/index.ts';
import { adapt, traceAdaptation } from '../../src/training/adaptation.ts';
import { batchInputs } from '../../src/training/batch-feeds.ts';
import { factorArrays } from '../../src/training/execution.ts';

const engine = await createEngine({ threads: 1 });
afterAll(() => engine.dispose());

describe('the tree', () => {
  it('holds edges out, and never takes one for a non-edge', () => {
    const tree = makeTree(1);
    const { train, test } = tree.edges;
    expect([tree.features.shape, train.length, test.length]).toEqual([[364, 16], 291, 72]);
    expect(new Set([...train, ...test].map(String)).size).toBe(363);
    const { pairs, labels } = withNonEdges(tree, test, 1, 'x');
    expect(pairs.map(([a, b]) => Number(tree.connected(a, b)))).toEqual([...labels]);
    expect(makeTree(1).features).toEqual(tree.features);
    expect(makeTree(2).features).not.toEqual(tree.features);
  });

  it('judges by the share of pairs in the right order', () => {
    expect(rankedAbove(Float64Array.of(3, 1, 2, 0), Int32Array.of(1, 1, 0, 0))).toBe(0.75);
    expect(rankedAbove(Float64Array.of(1, 1), Int32Array.of(1, 0))).toBe(0.5);
  });
});

it('SST on Lorentz layers starts at the model: zero distortion', async () => {
  const tree = makeTree(1);
  const { pairs } = withNonEdges(tree, tree.edges.test, 1, 'x');
  const ids: NDArray = {
    dtype: 'int64',
    shape: [pairs.length, 2],
    data: BigInt64Array.from(pairs.flat(), BigInt),
  };
  const shape = {
    rows: pairs.length,
    length: 2,
    segments: false,
    positions: false,
    types: false,
    labelled: true,
  };
  const sst = forms.find((f) => f.name === 'sst')!;
  const plain = treeModel(tree.features, 1);
  const model = treeModel(tree.features, 1);
  const options = sst.options.parse({ rank: 2 }) as AdapterOptions;
  const adaptation = await adapt(model, sst, options, { seed: 1, firstRate: 1e-3 });
  expect(adaptation.layers.map((l) => l.spec.name)).toEqual(['layers.0', 'layers.1']);
  const logits = async (hooks?: ReturnType<typeof traceAdaptation>['hooks']) => {
    const head = forward(plain.architecture, traceContext(plain.architecture, { hooks }), batchInputs(shape));
    const executable = await engine.compile(program({ logits: (head as { logits: Tensor }).logits }));
    const arrays = new Map([...plain.weights, ...factorArrays(adaptation), ['batch:ids', ids] as const]);
    const feeds = Object.fromEntries(executable.inputs.map(({ name }) => [name, arrays.get(name)!]));
    return (await executable.run(feeds)).logits.data as Float32Array;
  };
  const [before, after] = [await logits(), await logits(traceAdaptation(adaptation).hooks)];
  const largest = before.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  after.forEach((v, i) => {
    expect(Math.abs(v - before[i]) / largest).toBeLessThan(1e-5);
  });
});

it('links are learned: better than chance at the start, SST nearer to all weights than LoRA is', async () => {
  const run = (form: Parameters<typeof linkPrediction>[1]['form'], steps: number) =>
    linkPrediction(engine, { form, rate: 1e-2, steps, seed: 1 });
  const begun = await run(undefined, 1);
  const full = await run(undefined, 150);
  const sst = await run({ method: 'sst', options: { rank: 2, every: 10, warmup: 2 } }, 150);
  const lora = await run({ method: 'lora', options: { rank: 2 } }, 150);
  expect([full, sst, lora].map((s) => s.trainable)).toEqual([544, 164, 132]);
  expect(full.loss).toBeLessThan(0.3 * begun.loss);
  expect(full.auc).toBeGreaterThan(0.95);
  expect(sst.auc).toBeGreaterThan(0.9);
  expect(sst.loss).toBeLessThan(lora.loss);
});
