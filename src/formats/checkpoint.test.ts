import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { goldenPath } from '../../tests/golden-formats.ts';
import { array } from '../graph/array.ts';
import { openCheckpoint } from './open-checkpoint.ts';
import { type LazyTensor, lazyTensors } from './safetensors-write.ts';
import { writeCheckpoint } from './write-checkpoint.ts';
import { writeSafetensors } from './write-safetensors.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rankine-checkpoint-'));
});

const tensors = {
  'a.weight': array([1, 2, 3, 4, 5, 6], [2, 3]),
  'b.weight': array([0.1, -0.2], [2]),
  'c.ids': array([3, 4], [2], 'int64'),
};

const put = async (name: string, value: unknown) => writeFile(join(folder, name), JSON.stringify(value));

describe('openCheckpoint', () => {
  test('a folder that transformers wrote', async () => {
    const model = await openCheckpoint(goldenPath('gpt2'));
    expect(model.config.model_type).toBe('gpt2');
    expect(model.shape('transformer.wte.weight')).toEqual([64, 16]);
    expect(model.dtype('transformer.wte.weight')).toBe('F32');
    model.expect('transformer.h.1.attn.c_attn.weight', [16, 48]);
    expect((await model.read('transformer.ln_f.weight')).data).toEqual(new Float32Array(16).fill(1));
    await model.close();
  });

  test('a .bin, whole and sharded', async () => {
    await put('config.json', {});
    await cp(goldenPath('state.bin'), join(folder, 'pytorch_model.bin'));
    const whole = await openCheckpoint(folder);
    expect((await whole.read('double')).dtype).toBe('float32');
    expect((await whole.read('ids')).dtype).toBe('int64');
    const names = whole.names();
    await whole.close();
    await rename(join(folder, 'pytorch_model.bin'), join(folder, 'pytorch_model-00001-of-00001.bin'));
    const map = Object.fromEntries(names.map((name) => [name, 'pytorch_model-00001-of-00001.bin']));
    await put('pytorch_model.bin.index.json', { weight_map: map });
    const sharded = await openCheckpoint(folder);
    expect(sharded.names()).toEqual(names);
    await sharded.close();
  });

  test('wrong shapes and missing tensors name what was expected', async () => {
    await put('config.json', {});
    await writeSafetensors(join(folder, 'model.safetensors'), lazyTensors(tensors));
    const model = await openCheckpoint(folder);
    expect(() => model.expect('a.weight', [3, 2])).toThrow(
      expect.objectContaining({
        code: 'formats/tensor-shape',
        message: expect.stringMatching(/model\.safetensors, the tensor a\.weight .*\[2,3\].*\[3,2\]/),
      }),
    );
    await expect(model.read('weight')).rejects.toMatchObject({
      code: 'formats/missing-tensor',
      message: expect.stringContaining('model.safetensors holds no tensor weight'),
      remedy: expect.stringMatching(/a\.weight, b\.weight/),
    });
    await model.close();
  });
});

describe('broken folders', () => {
  const opened = () => openCheckpoint(folder);
  const weightMap = { 'a.weight': 'model-1.safetensors', 'b.weight': 'model-2.safetensors' };

  test('absent', () =>
    expect(openCheckpoint(join(folder, 'no'))).rejects.toMatchObject({ code: 'formats/missing-folder' }));
  test('empty', () => expect(opened()).rejects.toMatchObject({ code: 'formats/missing-file' }));
  test('configuration cut off', async () => {
    await writeFile(join(folder, 'config.json'), '{"model_type": "gp');
    await expect(opened()).rejects.toMatchObject({ code: 'formats/broken-json' });
  });
  test('no weights', async () => {
    await put('config.json', {});
    await expect(opened()).rejects.toMatchObject({ code: 'formats/no-weights' });
  });
  test('a shard without its index', async () => {
    await put('config.json', {});
    await writeFile(join(folder, 'model-00001-of-00002.safetensors'), '');
    await expect(opened()).rejects.toMatchObject({ code: 'formats/half-written' });
  });
  test('a shard missing', async () => {
    await put('config.json', {});
    await put('model.safetensors.index.json', { weight_map: weightMap });
    await writeSafetensors(
      join(folder, 'model-1.safetensors'),
      lazyTensors({ 'a.weight': tensors['a.weight'] }),
    );
    await expect(opened()).rejects.toMatchObject({
      code: 'formats/half-written',
      message: expect.stringContaining('model-2.safetensors'),
    });
  });
  test('a tensor that its shard does not hold', async () => {
    await put('config.json', {});
    await put('model.safetensors.index.json', {
      weight_map: { ...weightMap, 'b.weight': 'model-1.safetensors' },
    });
    await writeSafetensors(
      join(folder, 'model-1.safetensors'),
      lazyTensors({ 'a.weight': tensors['a.weight'] }),
    );
    await expect(opened()).rejects.toMatchObject({
      code: 'formats/broken-index',
      message: expect.stringContaining('b.weight'),
    });
  });
  test.each([[undefined], [{ a: '../outside.safetensors' }], [{ a: 3 }]])(
    'a weight map of %o',
    async (map) => {
      await put('config.json', {});
      await put('model.safetensors.index.json', { weight_map: map });
      await expect(opened()).rejects.toMatchObject({ code: 'formats/broken-index' });
    },
  );
  test('truncated weights', async () => {
    await cp(goldenPath('gpt2'), folder, { recursive: true });
    const path = join(folder, 'model.safetensors');
    await writeFile(path, (await readFile(path)).subarray(0, -1));
    await expect(opened()).rejects.toMatchObject({
      code: 'formats/truncated',
      message: expect.stringContaining(path),
    });
  });
});

describe('writeCheckpoint', () => {
  test('shards by size, with an index that reads back, and copies the companions', async () => {
    const from = join(folder, 'from');
    await mkdir(from);
    for (const name of [
      'tokenizer.json',
      'config.json',
      'README.md',
      'model.safetensors',
      'chat_template.jinja',
    ])
      await writeFile(join(from, name), '{}');
    const to = join(folder, 'to');
    const stream = async function* () {
      yield* lazyTensors(tensors);
    };
    await writeCheckpoint(to, { model_type: 'x' }, stream(), { maxShardBytes: 30, copyFrom: from });
    expect((await readdir(to)).sort()).toEqual([
      'chat_template.jinja',
      'config.json',
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
      'tokenizer.json',
    ]);
    const index = JSON.parse(await readFile(join(to, 'model.safetensors.index.json'), 'utf8'));
    expect(index.metadata.total_size).toBe(24 + 8 + 16);
    const model = await openCheckpoint(to);
    expect(model.config).toEqual({ model_type: 'x', torch_dtype: 'float32' });
    for (const [name, expected] of Object.entries(tensors)) expect(await model.read(name)).toEqual(expected);
    await model.close();
  });

  test('narrows to bfloat16 and says so in the configuration', async () => {
    const to = join(folder, 'to');
    await writeCheckpoint(to, { dtype: 'float32' }, lazyTensors(tensors), { dtype: 'BF16' });
    const model = await openCheckpoint(to);
    expect(model.config).toEqual({ dtype: 'bfloat16' });
    expect([model.dtype('a.weight'), model.dtype('c.ids')]).toEqual(['BF16', 'I64']);
    expect(await model.read('a.weight')).toEqual(tensors['a.weight']);
    await model.close();
  });

  test('a tensor that fails leaves the older folder as it was', async () => {
    const to = join(folder, 'to');
    await writeCheckpoint(to, { old: 1 }, lazyTensors(tensors));
    const failing: LazyTensor = {
      name: 'z',
      shape: [1],
      read: () => {
        throw new Error('no');
      },
    };
    await expect(writeCheckpoint(to, {}, [failing], { replace: true })).rejects.toThrow('no');
    expect((await openCheckpoint(to)).config.old).toBe(1);
    expect(await readdir(folder)).toEqual(['to']);
    await rm(to, { recursive: true });
  });
});
