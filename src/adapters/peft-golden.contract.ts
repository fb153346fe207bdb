import { expect } from 'vitest';
import {
  batchFeeds,
  batchInputs,
  goldenLoss,
  goldenModel,
  isToken,
  outputTensor,
} from '../../tests/golden-models.ts';
import { createEngine } from '../engine/index.ts';
import { openTensorFile } from '../formats/index.ts';
import type { PeftAdapter } from '../formats/peft.ts';
import type { PeftConfig } from '../formats/peft-config.ts';
import { gradients, input, type NDArray, program, type Tensor } from '../graph/index.ts';
import { forward, traceContext } from '../models/index.ts';
import { resolveOptions } from './options.ts';
import type { WeightForm } from './weight-form.ts';

/** An adapter that PEFT made (scripts/reference/adapters/record.py), with what it computed. */
export interface PeftGolden {
  readonly adapter: PeftAdapter;
  readonly base: string;
  readonly logits: NDArray;
  readonly losses: NDArray;
  readonly rate: number;
}

export async function peftGolden(name: string): Promise<PeftGolden> {
  const file = await openTensorFile(
    new URL(`../../tests/golden/adapters/${name}.safetensors`, import.meta.url).pathname,
  );
  const tensors: Record<string, NDArray> = {};
  for (const key of file.tensors.keys())
    if (key.startsWith('adapter/')) tensors[key.slice('adapter/'.length)] = await file.read(key);
  const golden = {
    adapter: { config: JSON.parse(file.metadata.config) as PeftConfig, tensors },
    base: file.metadata.base,
    logits: await file.read('logits'),
    losses: await file.read('losses'),
    rate: Number(file.metadata.rate),
  };
  await file.close();
  return golden;
}

/**
 * Reads PEFT's adapter by the form and checks that the logits (1e-4) and the losses of ten steps of gradient descent
 * (relative 1e-3) are PEFT's, and that writing it again gives PEFT's tensors.
 */
export async function checkAgainstPeft(form: WeightForm, name: string): Promise<void> {
  const golden = await peftGolden(name);
  const { model, ...rest } = await goldenModel(golden.base);
  const { options, factors } = form.fromPeft!(golden.adapter, model.architecture.layers);
  const engine = await createEngine({ threads: 1 });
  const c = traceContext(model.architecture, { hooks: hooks() });
  const symbols = new Map<string, Record<string, Tensor>>();
  function hooks() {
    return new Map(
      [...factors].map(([layer, { trainable, frozen }]) => [
        layer,
        (x: Tensor, base: Parameters<NonNullable<WeightForm['forward']>>[1], context: typeof c) => {
          const p = Object.fromEntries(
            Object.entries({ ...trainable, ...frozen }).map(([k, a]) => [k, input(`${layer}#${k}`, a.shape)]),
          );
          symbols.set(layer, p);
          const own = resolveOptions(options, base.spec);
          return form.forward
            ? form.forward(x, base, p, own, context)
            : base.forwardWith(x, form.weight(base.weight, p, own, base.spec));
        },
      ]),
    ) as Map<string, never>;
  }
  const goldenParts = { model, ...rest };
  const feeds = batchFeeds(goldenParts);
  const head = forward(model.architecture, c, batchInputs(feeds));
  const loss = goldenLoss(goldenParts, head);
  const trained = [...factors].flatMap(([layer, f]) =>
    Object.keys(f.trainable).map((k) => [layer, k] as const),
  );
  const g = gradients(
    loss,
    trained.map(([layer, k]) => symbols.get(layer)![k]),
  );
  const outputs = Object.fromEntries(trained.map(([layer, k], i) => [`${layer}#${k}`, g[i]]));
  const step = await engine.compile(program({ loss, logits: outputTensor(head), ...outputs }));
  const arrays = Object.fromEntries(
    [...factors].flatMap(([layer, f]) =>
      Object.entries({ ...f.frozen, ...f.trainable }).map(([k, a]) => [
        `${layer}#${k}`,
        { ...a, data: (a.data as Float32Array).slice() },
      ]),
    ),
  );
  const all: Record<string, NDArray> = {
    ...Object.fromEntries(model.weights),
    ...feeds,
    ...goldenParts.targets,
    ...arrays,
  };
  const fed = Object.fromEntries(step.inputs.map((i) => [i.name, all[i.name]]));
  const losses: number[] = [];
  for (let t = 0; t < golden.losses.data.length; t++) {
    const result = await step.run(fed);
    if (t === 0) checkLogits(result.logits, golden.logits, (i) => isToken(goldenParts, i));
    losses.push(Number(result.loss.data[0]));
    for (const name of Object.keys(outputs))
      for (let i = 0; i < arrays[name].data.length; i++)
        arrays[name].data[i] -= golden.rate * Number(result[name].data[i]);
  }
  await engine.dispose();
  for (const [t, own] of losses.entries())
    expect(Math.abs(own / Number(golden.losses.data[t]) - 1), `loss ${t}: ${losses}`).toBeLessThan(1e-3);
  checkWrittenAgain();

  function checkWrittenAgain() {
    const layers = model.architecture.layers.filter((l) => factors.has(l.name));
    const written = form.toPeft!(
      layers.map((spec) => ({
        spec,
        options: resolveOptions(options, spec),
        arrays: { ...factors.get(spec.name)!.frozen, ...factors.get(spec.name)!.trainable },
        fanInFanOut: spec.transposed ?? false,
      })),
      options,
    );
    // PEFT repeats bases that all layers share under every layer; what no layer uses of them is zero here.
    const theirs = Object.entries(golden.adapter.tensors).filter(([key]) => !repeatsShared(key));
    expect(Object.keys(written.tensors).sort()).toEqual(theirs.map(([key]) => key).sort());
    for (const [key, a] of theirs) {
      const shared = !key.startsWith('base_model.model.');
      const own = written.tensors[key].data;
      const wanted = [...a.data].map((v, i) => (shared && own[i] === 0 ? 0 : v));
      expect([key, written.tensors[key].shape, [...own]]).toEqual([key, a.shape, wanted]);
    }
    // What PEFT writes besides is what it defaults to; what we write must be known to it and say the same.
    for (const [key, value] of Object.entries(written.config))
      if (!['target_modules', 'inference_mode', 'rank_pattern'].includes(key))
        expect([key, value ?? null]).toEqual([key, golden.adapter.config[key] ?? null]);
  }
}

function checkLogits(own: NDArray, theirs: NDArray, counts: (i: number) => boolean): void {
  let most = 0;
  for (let i = 0; i < own.data.length; i++)
    if (counts(i)) most = Math.max(most, Math.abs(Number(own.data[i]) - Number(theirs.data[i])));
  expect(most).toBeLessThan(1e-4);
}

function repeatsShared(key: string): boolean {
  return key.startsWith('base_model.model.') && /\.(vera|randlora)_[AB]$/.test(key);
}
