import { beforeEach, describe, expect, test } from 'vitest';
import { goldenPath } from '../../tests/golden-formats.ts';
import { peftBaseName, peftName, readPeftAdapter } from '../formats/index.ts';
import { array } from '../graph/array.ts';
import { loadModel, type Model } from '../models/index.ts';
import { applyAdapter, loadAdapter } from './load-adapter.ts';

const LAYER = 'transformer.h.0.attn.c_attn';
let model: Model;
beforeEach(async () => {
  model = await loadModel(goldenPath('gpt2'));
});

describe('adapters that PEFT wrote', () => {
  test.each([
    ['peft-lora', 'lora'],
    ['peft-dora', 'dora'],
    ['peft-rslora-pattern', 'rslora'],
  ])('%s is read as %s, its factors unchanged', async (folder, form) => {
    const { tensors } = await readPeftAdapter(goldenPath(folder));
    const adaptation = await loadAdapter(model, goldenPath(folder));
    expect(adaptation.form.name).toBe(form);
    const factors = Object.keys(tensors).filter((name) => name.endsWith('.lora_A.weight'));
    expect(adaptation.layers.map((l) => peftName(l.spec.name, 'lora_A.weight')).sort()).toEqual(
      factors.sort(),
    );
    for (const { spec, trainable, options } of adaptation.layers) {
      expect(trainable.A).toEqual(tensors[peftName(spec.name, 'lora_A.weight')]);
      expect(options.rank).toBe(trainable.A.shape[0]);
    }
  });

  test('biases and whole modules that were trained beside go into the model', async () => {
    const { tensors } = await readPeftAdapter(goldenPath('peft-lora'));
    const [bias, norm] = ['transformer.h.1.mlp.c_proj.bias', 'transformer.ln_f.weight'];
    expect(model.weights.get(bias)).not.toEqual(tensors[peftBaseName(bias, true)]);
    await loadAdapter(model, goldenPath('peft-lora'));
    expect(model.weights.get(bias)).toEqual(tensors[peftBaseName(bias, true)]);
    expect(model.weights.get(norm)).toEqual(tensors[peftBaseName(norm)]);
  });
});

describe('adapters that do not fit', () => {
  const changed = async (tensors: Record<string, ReturnType<typeof array>>, type = 'LORA') => {
    const adapter = await readPeftAdapter(goldenPath('peft-lora'));
    return { config: { ...adapter.config, peft_type: type }, tensors: { ...adapter.tensors, ...tensors } };
  };
  const other = { code: 'adapters/other-base' };

  test('a layer that the model lacks', async () => {
    const adapter = await changed({
      [peftName('model.layers.0.q_proj', 'lora_A.weight')]: array([1], [1, 1]),
    });
    expect(() => applyAdapter(model, adapter)).toThrow(
      expect.objectContaining({ ...other, message: expect.stringContaining('model.layers.0.q_proj') }),
    );
  });

  test('factors of another shape', async () => {
    const adapter = await changed({ [peftName(LAYER, 'lora_B.weight')]: array([1], [1, 1]) });
    expect(() => applyAdapter(model, adapter)).toThrow(expect.objectContaining(other));
  });

  test('a module of another shape, or none', async () => {
    for (const name of ['transformer.ln_f.weight', 'score.weight']) {
      const adapter = await changed({ [peftBaseName(name)]: array([1], [1]) });
      expect(() => applyAdapter(model, adapter)).toThrow(
        expect.objectContaining({ ...other, message: expect.stringContaining(name) }),
      );
    }
  });

  test('a type that no method reads', async () => {
    const adapter = await changed({}, 'POLY');
    expect(() => applyAdapter(model, adapter)).toThrow(
      expect.objectContaining({ code: 'adapters/unknown-type', message: expect.stringContaining('POLY') }),
    );
  });
});
