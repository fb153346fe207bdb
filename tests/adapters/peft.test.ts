import { readdirSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import type { NDArray } from '../../src/graph/index.ts';
import { toPeftAdapter } from '../../src/training/artifacts.ts';
import { applyAdapter } from '../../src/training/load-adapter.ts';
import { ownAdapter, ownCases } from './ours.ts';
import { createEngine, goldenModel, logitError, logitsOf, peftRecord, startAs, trainOn } from './peft.ts';

const folder = new URL('../golden/adapters/', import.meta.url).pathname;
const names = (prefix: string) =>
  readdirSync(folder)
    .filter((file) => file.startsWith(prefix))
    .map((file) => file.replace('.safetensors', ''));

const engine = await createEngine({ threads: 1 });
afterAll(() => engine.dispose());

describe.each(names('trained-'))('%s', (name) => {
  it("goes PEFT's way: the losses of ten AdamW steps from PEFT's start", async () => {
    const record = await peftRecord(name);
    const golden = await goldenModel(record.base);
    const adaptation = await startAs(record, golden.model);
    const { losses } = await trainOn(golden, engine, adaptation, {
      steps: record.losses.length,
      rate: record.rate,
    });
    for (const [t, theirs] of record.losses.entries())
      expect(Math.abs(losses[t] / theirs - 1), `step ${t}: ${losses[t]}, PEFT's ${theirs}`).toBeLessThan(
        1e-3,
      );
    expect(logitError(golden, await logitsOf(golden, engine, adaptation), record.logits)).toBeLessThan(2e-2);
    // AdaLoRA: the very triplets that PEFT kept.
    if (record.adapter.config.peft_type === 'ADALORA') {
      const { config } = toPeftAdapter(golden.model, adaptation, [], record.base);
      expect(config.rank_pattern).toEqual(record.adapter.config.rank_pattern);
    }
  });

  it("computes PEFT's logits with the adapter that PEFT saved", async () => {
    const record = await peftRecord(name);
    const golden = await goldenModel(record.base);
    const adaptation = applyAdapter(golden.model, record.adapter);
    expect(logitError(golden, await logitsOf(golden, engine, adaptation), record.logits)).toBeLessThan(1e-4);
  });
});

it('has a record of every adapter that is trained here', () => {
  expect(names('ours-').sort()).toEqual(
    Object.keys(ownCases)
      .map((name) => `ours-${name}`)
      .sort(),
  );
});

describe.each(Object.keys(ownCases))('%s, trained here', (name) => {
  it('computes with it what PEFT computes with it', async () => {
    const record = await peftRecord(`ours-${name}`);
    const golden = await goldenModel(record.base);
    const adaptation = applyAdapter(golden.model, record.adapter);
    expect(logitError(golden, await logitsOf(golden, engine, adaptation), record.logits)).toBeLessThan(1e-4);
  });

  it('still writes what PEFT loaded', async () => {
    const { adapter } = await peftRecord(`ours-${name}`);
    const own = await ownAdapter(name, engine);
    expect(own.config).toEqual(adapter.config);
    expect(shapes(own.tensors)).toEqual(shapes(adapter.tensors));
    for (const [tensor, { data }] of Object.entries(adapter.tensors))
      for (let i = 0; i < data.length; i++)
        if (!isKeyBias(tensor, i, data.length))
          expect(Math.abs(Number(own.tensors[tensor].data[i]) - Number(data[i])), tensor).toBeLessThan(1e-3);
  });
});

/** The softmax does not see a bias of all keys: its gradient is rounding, which Adam moves by as much as any other. */
function isKeyBias(tensor: string, i: number, length: number): boolean {
  return tensor.endsWith('c_attn.base_layer.bias') && Math.floor((3 * i) / length) === 1;
}

function shapes(tensors: Readonly<Record<string, NDArray>>): Record<string, readonly number[]> {
  return Object.fromEntries(Object.entries(tensors).map(([name, a]) => [name, a.shape]));
}
