import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { golden, goldenPath } from '../../tests/golden-formats.ts';
import { array } from '../graph/array.ts';
import { readPeftAdapter, writePeftAdapter } from './peft.ts';
import { loraConfig } from './peft-config.ts';
import { parsePeftName, peftBaseName, peftName, peftSharedName } from './peft-names.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rankine-peft-'));
});

describe('adapters that PEFT wrote', () => {
  test.each(['lora', 'dora', 'rslora-pattern'])('%s comes back byte for byte', async (kind) => {
    const original = goldenPath(`peft-${kind}`);
    const copy = join(folder, 'copy');
    await writePeftAdapter(copy, await readPeftAdapter(original));
    const weights = await Promise.all(
      [original, copy].map((f) => readFile(join(f, 'adapter_model.safetensors'))),
    );
    expect(weights[0].equals(weights[1])).toBe(true);
    const configs = await Promise.all(
      [original, copy].map((f) => readFile(join(f, 'adapter_config.json'), 'utf8')),
    );
    expect(JSON.parse(configs[1])).toEqual(JSON.parse(configs[0]));
    // Python writes 0 as 0.0, JavaScript as 0: nothing else differs.
    expect(configs[1]).toBe(configs[0].replace(/: 0\.0,/g, ': 0,'));
  });

  test('their tensors are placed: parts, a bias of a wrapped module, a saved module', async () => {
    const { config, tensors } = await readPeftAdapter(goldenPath('peft-lora'));
    const places = Object.keys(tensors).map((name) => parsePeftName(config.peft_type, name));
    expect(places).toContainEqual({
      kind: 'part',
      module: 'transformer.h.0.attn.c_attn',
      part: 'lora_A.weight',
    });
    expect(places).toContainEqual({ kind: 'base', tensor: 'transformer.h.1.mlp.c_proj.bias' });
    expect(places).toContainEqual({ kind: 'base', tensor: 'transformer.ln_f.weight' });
    const wrapped = peftBaseName('transformer.h.1.mlp.c_proj.bias', true);
    for (const name of [wrapped, peftBaseName('transformer.ln_f.weight')])
      expect(tensors).toHaveProperty([name]);
  });

  test('DoRA keeps its magnitude as a bare parameter, one value an output', async () => {
    const { tensors } = await readPeftAdapter(goldenPath('peft-dora'));
    expect(tensors[peftName('transformer.h.0.attn.c_attn', 'lora_magnitude_vector')].shape).toEqual([48]);
  });

  test.each(Object.keys(golden.names))('every name of %s is taken apart and put together again', (type) => {
    for (const name of golden.names[type]) {
      const place = parsePeftName(type, name);
      expect(place.kind).not.toBe('base');
      if (place.kind === 'part') expect(peftName(place.module, place.part)).toBe(name);
      if (place.kind === 'shared') expect(peftSharedName(place.part)).toBe(name);
    }
  });
});

describe('adapters of ours', () => {
  test('are explicit and keep unknown keys', async () => {
    const target = join(folder, 'a');
    const name = peftName('x', 'lora_A.weight');
    const config = loraConfig({ r: 2, target_modules: 'all-linear', of_later: { deep: [1] } });
    await writePeftAdapter(target, { config, tensors: { [name]: array([1, 2], [2, 1]) } });
    const back = await readPeftAdapter(target);
    expect(back.config).toEqual(config);
    expect(back.tensors[name]).toEqual(array([1, 2], [2, 1]));
    await expect(writePeftAdapter(target, back)).rejects.toMatchObject({ code: 'formats/folder-exists' });
  });

  test('an older adapter_model.bin is read', async () => {
    await writeFile(join(folder, 'adapter_config.json'), '{"peft_type": "LORA"}');
    await cp(goldenPath('state.bin'), join(folder, 'adapter_model.bin'));
    expect((await readPeftAdapter(folder)).tensors.plain.shape).toEqual([4, 6]);
  });
});

describe('broken adapters', () => {
  test('no configuration', () =>
    expect(readPeftAdapter(folder)).rejects.toMatchObject({ code: 'formats/not-an-adapter' }));
  test.each([
    ['{"peft_type": "LO', 'formats/broken-json', /adapter_config\.json/],
    ['{"r": 4}', 'formats/adapter-config', /peft_type/],
    ['{"peft_type": "LORA", "r": -1}', 'formats/adapter-config', /: r: /],
    ['{"peft_type": "LORA", "target_modules": [3]}', 'formats/adapter-config', /target_modules/],
  ])('%s', async (text, code, message) => {
    await writeFile(join(folder, 'adapter_config.json'), text);
    await expect(readPeftAdapter(folder)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });
  test('no weights', async () => {
    await cp(goldenPath('peft-lora'), folder, { recursive: true });
    await rm(join(folder, 'adapter_model.safetensors'));
    await expect(readPeftAdapter(folder)).rejects.toMatchObject({ code: 'formats/half-written' });
  });
  test('a name without the prefix', () => {
    expect(() => parsePeftName('LORA', 'x.lora_A.weight')).toThrow(
      expect.objectContaining({ code: 'formats/adapter-tensor' }),
    );
  });
});
