// Writes adapters of ours on a tiny model and the logits that we compute with them; ours.py loads them in PEFT.
//   npx tsx scripts/reference/adapters/ours.ts FOLDER
import { join } from 'node:path';
import { forms } from '../../../src/adapters/index.ts';
import { createEngine } from '../../../src/engine/index.ts';
import { lazyTensors } from '../../../src/formats/safetensors-write.ts';
import { writeSafetensors } from '../../../src/formats/write-safetensors.ts';
import { type NDArray, program } from '../../../src/graph/index.ts';
import { random } from '../../../src/linalg/index.ts';
import { forward, traceContext } from '../../../src/models/index.ts';
import { adapt, factorName, traceAdaptation } from '../../../src/training/adaptation.ts';
import { writeAdapter } from '../../../src/training/artifacts.ts';
import { batchFeeds, batchInputs, goldenModel, outputTensor } from '../../../tests/golden-models.ts';

const CASES: Record<string, Record<string, unknown>> = {
  vera: { rank: 6 },
  randlora: { rank: 5, alpha: 5 },
  hut: { rank: 3, mode: 'direct' },
  loldu: { rank: 4 },
  nola: { rank: 3, bases: 9 },
  dylora: { rank: 4, servedRank: 3 },
  'lora-ga': { rank: 3 },
};

const [folder] = process.argv.slice(2);
const engine = await createEngine({ threads: 1 });
for (const base of ['llama-default', 'gpt2-tied'])
  for (const [method, options] of Object.entries(CASES)) {
    const golden = await goldenModel(base);
    const form = forms.find((f) => f.name === method)!;
    const gradient = (layer: { out: number; in: number }) => noise([layer.out, layer.in], 9, 1);
    const adaptation = await adapt(golden.model, form, form.options.parse(options), {
      seed: 1,
      firstRate: 1e-3,
      statistics: (layer) => ({ gradient: gradient(layer) }),
    });
    const arrays: Record<string, NDArray> = {};
    for (const [index, { spec, trainable, frozen }] of adaptation.layers.entries()) {
      for (const a of Object.values(trainable)) {
        const { data } = noise(a.shape, 100 + index, 0.05);
        for (let i = 0; i < a.data.length; i++) a.data[i] = Number(a.data[i]) + Number(data[i]);
      }
      for (const [name, a] of Object.entries({ ...trainable, ...frozen }))
        arrays[factorName(spec.name, name)] = a;
    }
    const traced = traceAdaptation(adaptation);
    const feeds = batchFeeds(golden);
    const c = traceContext(golden.model.architecture, { hooks: traced.hooks });
    const logits = outputTensor(forward(golden.model.architecture, c, batchInputs(feeds)));
    const executable = await engine.compile(program({ logits }));
    const all: Record<string, NDArray> = { ...Object.fromEntries(golden.model.weights), ...feeds, ...arrays };
    const result = await executable.run(
      Object.fromEntries(executable.inputs.map((i) => [i.name, all[i.name]])),
    );
    const out = join(folder, `${method}@${base}`);
    await writeAdapter(out, golden.model, adaptation, [], base);
    await writeSafetensors(join(out, 'expected.safetensors'), lazyTensors({ logits: result.logits }));
  }
await engine.dispose();

function noise(shape: readonly number[], seed: number, std: number): NDArray {
  const data = new Float32Array(shape.reduce((n, d) => n * d, 1));
  random(seed, 'ours').fillNormal(data);
  return { dtype: 'float32', shape, data: data.map((v) => std * v) };
}
