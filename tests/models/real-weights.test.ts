import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { preprocess, readImage, readPreprocessor } from '../../src/data/index.ts';
import {
  convertMinGpt,
  convertTimmViT,
  decodeMinGptTensor,
  openTensorFile,
  readLlama2c,
  readLlama2cVocabulary,
  TIMM_VIT_PREPROCESSOR,
} from '../../src/formats/index.ts';
import type { NDArray } from '../../src/graph/array.ts';
import { gather, input, reshape, type Tensor } from '../../src/graph/index.ts';
import {
  type Architecture,
  type BatchInputs,
  type Context,
  forward,
  loadModel,
  type Model,
} from '../../src/models/index.ts';
import { readMaybeGzip, realData } from '../data.ts';
import { outputTensor } from '../golden-models.ts';
import { compileModel, converted, engine } from './run.ts';

afterAll(async () => (await engine()).dispose());

function int64(values: readonly number[], shape: readonly number[]): NDArray {
  return { dtype: 'int64', shape, data: BigInt64Array.from(values, BigInt) };
}

function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

// What llama2.c's own test expects of this checkpoint (test_all.py, 200 steps at temperature 0).
const STORY = `Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, "Lily, let's go to the park." Lily was sad and didn't know what to do. She said, "I want to play with your ball, but I can't find it."
Lily was sad and didn't know what to do. She said, "I'm sorry, Lily. I didn't know what to do."
Lily didn't want to help her mom, so she`;

const stories = realData('models/stories260K.bin');
const vocabulary = realData('models/tok512.bin');

describe.runIf(stories && vocabulary)('stories260K', () => {
  it('tells its story, token by token', async () => {
    const model = await converted('stories260K', readLlama2c(stories!, readFileSync(stories!)));
    const pieces = readLlama2cVocabulary(vocabulary!, readFileSync(vocabulary!), 512);
    // The model is causal: what stands behind a position does not change it, so one program serves all lengths.
    const ids = new BigInt64Array(201);
    ids[0] = 1n;
    const length = ids.length;
    const feeds = { ids: { dtype: 'int64' as const, shape: [1, length], data: ids } };
    const at = { at: int64([0], [1]) };
    const run = await compileModel(model, feeds, (c, batch) => ({
      next: row(outputTensor(forward(model.architecture, c, batch)), length),
    }));
    for (let i = 0; i + 1 < length; i++) {
      at.at.data[0] = BigInt(i);
      const { next } = await run({ ...feeds, ...at });
      ids[i + 1] = BigInt(largest(next.data as Float32Array));
    }
    const text = [...ids.subarray(1)].map((id) => pieces[Number(id)].text).join('');
    expect(text.replaceAll('<0x0A>', '\n').trimStart()).toBe(STORY);
  });
});

/** Scores [1, T, V] → those of the position that is fed as `at`, [1, V]. */
function row(scores: Tensor, length: number): Tensor {
  return gather(reshape(scores, [length, -1]), input('at', [1], 'int64'));
}

const sorter = realData('models/gpt-nano-sort-model.json.gz');
const partials = realData('models/gpt-nano-sort-t0-partials.json.gz');

describe.runIf(sorter && partials)('gpt-nano-sort', () => {
  it("repeats PyTorch's activations of every stage", async () => {
    const json = (path: string) => JSON.parse(readMaybeGzip(path).toString()) as Record<string, unknown>;
    const model = await converted('gpt-nano-sort', convertMinGpt(sorter!, json(sorter!)));
    const stored = json(partials!);
    const expected = (name: string) => decodeMinGptTensor(partials!, name, stored[name]);
    const feeds = { ids: int64([...(expected('idx').data as Float32Array)], [3, 11]) };
    const run = await compileModel(model, feeds, (c, batch) => stages(model.architecture, c, batch));
    const results = await run(feeds);
    expect(Object.keys(results).sort()).toEqual(['block0', 'block1', 'block2', 'lm_head', 'ln_f', 'x']);
    for (const [name, result] of Object.entries(results)) {
      const { shape, data } = expected(name);
      expect(result.shape, name).toEqual(shape);
      for (let i = 0; i < data.length; i++)
        expect(Math.abs(Number(result.data[i]) - Number(data[i])), `${name}[${i}]`).toBeLessThan(1e-5);
    }
  });
});

/** Hidden states behind every stage, under the names of the stored activations. */
function stages(architecture: Architecture, c: Context, batch: BatchInputs): Record<string, Tensor> {
  const result: Record<string, Tensor> = { x: architecture.embed(c, batch) };
  let x = result.x;
  for (let i = 0; i < architecture.blocks; i++) {
    x = architecture.block(c, i, x, batch);
    result[`block${i}`] = x;
  }
  const head = architecture.head(c, x, batch);
  if (head.kind === 'tokens') result.ln_f = head.hidden;
  return { ...result, lm_head: outputTensor(head) };
}

const vitFile = realData('models/vit_tiny_patch16_224.safetensors');
const labelFile = realData('vision/imagenet/Labels.txt');
/** WordNet ids of the photos with the names that Labels.txt has for them. */
const PHOTOS = {
  n01514668_10054: 'cock',
  n01735189_11267: 'garter snake',
  n01855032_1046: 'red-breasted merganser',
  n02025239_1005: 'ruddy turnstone',
  n02125311_10473: 'cougar',
  n02231487_1002: 'walking stick',
  n02493509_10045: 'titi',
  n03062245_1030: 'cocktail shaker',
  n03764736_10075: 'milk can',
};

describe.runIf(vitFile && labelFile)('ViT-Tiny', () => {
  it('names the photos', async () => {
    const file = await openTensorFile(vitFile!);
    const model = await converted('vit-tiny', convertTimmViT(file));
    const labels = readFileSync(labelFile!, 'utf8').trim().split('\n');
    const how = readPreprocessor({
      ...TIMM_VIT_PREPROCESSOR,
      size: { shortest_edge: 248 },
      resample: 3,
      do_center_crop: true,
      crop_size: { height: 224, width: 224 },
    });
    const named: Record<string, string> = {};
    let run: Awaited<ReturnType<typeof compileModel>> | undefined;
    for (const name of Object.keys(PHOTOS)) {
      const path = realData(`vision/imagenet/${name}.ppm.gz`);
      const { pixels } = preprocess(await readImage(path!), how);
      const feeds = { pixels: { dtype: 'float32' as const, shape: [1, 3, 224, 224], data: pixels } };
      run ??= await compileModel(model, feeds, (c, batch) => ({
        scores: outputTensor(forward(model.architecture, c, batch)),
      }));
      named[name] = labels[largest((await run(feeds)).scores.data as Float32Array)].trim();
    }
    await file.close();
    expect(named).toEqual(PHOTOS);
  });
});

const minilm = process.env.RANKINE_MINILM;

describe.runIf(minilm)('all-MiniLM-L6-v2 (its folder in RANKINE_MINILM)', () => {
  it("gives sentence-transformers' vectors", async () => {
    const golden = JSON.parse(
      readFileSync(new URL('../golden/models/minilm.json', import.meta.url), 'utf8'),
    ) as { ids: number[][]; mask: number[][]; vectors: number[][] };
    const model: Model = await loadModel(minilm!);
    expect(model.architecture.task).toBe('embedding');
    expect(model.config.sentence_embedding).toEqual({ pooling: 'mean', normalize: true });
    const shape = [golden.ids.length, golden.ids[0].length];
    const feeds = { ids: int64(golden.ids.flat(), shape), segments: int64(golden.mask.flat(), shape) };
    const run = await compileModel(model, feeds, (c, batch) => ({
      vectors: outputTensor(forward(model.architecture, c, batch)),
    }));
    const { vectors } = await run(feeds);
    golden.vectors.flat().forEach((x, i) => {
      expect(Math.abs(Number(vectors.data[i]) - x), `element ${i}`).toBeLessThan(1e-5);
    });
  });
});
