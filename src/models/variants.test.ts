import { afterAll, describe, expect, it } from 'vitest';
import { batchFeeds, batchInputs, goldenModel, outputTensor } from '../../tests/golden-models.ts';
import { engine, runModel } from '../../tests/models/run.ts';
import type { NDArray } from '../graph/array.ts';
import { program } from '../graph/index.ts';
import { architectureOf, forward, type Model, type ModelConfig, traceContext } from './index.ts';

afterAll(async () => (await engine()).dispose());

async function scores(model: Model, feeds: Record<string, NDArray>): Promise<Float32Array> {
  const { output } = await runModel(model, feeds, (c, batch) => ({
    output: outputTensor(forward(model.architecture, c, batch)),
  }));
  return output.data as Float32Array;
}

function reconfigured(model: Model, change: (config: Record<string, unknown>) => ModelConfig): Model {
  const config = change({ ...model.config });
  return { ...model, config, architecture: architectureOf(config) };
}

function int64(values: readonly number[]): NDArray {
  return { dtype: 'int64', shape: [1, values.length], data: BigInt64Array.from(values, BigInt) };
}

describe('configurations of transformers 4', () => {
  it.each(['llama-yarn', 'llama-llama3-tied', 'llama-linear-biases', 'llama-dynamic'])(
    '%s: rope_scaling and rope_theta mean what rope_parameters mean',
    async (name) => {
      const golden = await goldenModel(name);
      const old = reconfigured(golden.model, ({ rope_parameters, ...config }) => {
        const { rope_type: type, rope_theta, ...scaling } = rope_parameters as Record<string, unknown>;
        return { ...config, rope_theta, rope_scaling: { type, ...scaling } };
      });
      const feeds = batchFeeds(golden);
      expect(await scores(old, feeds)).toEqual(await scores(golden.model, feeds));
    },
  );

  it('Qwen2 without layer_types slides from max_window_layers on', async () => {
    const golden = await goldenModel('qwen2-window-tied');
    const old = reconfigured(golden.model, ({ layer_types, sliding_window, ...config }) => {
      expect(layer_types).toEqual(['full_attention', 'sliding_attention']);
      return { ...config, sliding_window: 4, use_sliding_window: true, max_window_layers: 1 };
    });
    const feeds = batchFeeds(golden);
    expect(await scores(old, feeds)).toEqual(await scores(golden.model, feeds));
  });
});

describe.each(['llama-yarn', 'qwen2-window-tied', 'mistral-window', 'gpt2-tied', 'gpt-neo-local'])(
  'packing %s',
  (name) => {
    it('keeps documents apart', async () => {
      const { model } = await goldenModel(name);
      const documents = [
        [5, 9, 17, 30, 8, 3, 12],
        [21, 4, 4, 28, 11],
      ];
      const packed = {
        ids: int64(documents.flat()),
        segments: int64(documents.flatMap((d, i) => d.map(() => i + 1))),
        positions: int64(documents.flatMap((d) => d.map((_, i) => i))),
      };
      const alone = await Promise.all(documents.map((d) => scores(model, { ids: int64(d) })));
      const together = await scores(model, packed);
      const apart = alone.flatMap((part) => [...part]);
      expect(together).toHaveLength(apart.length);
      apart.forEach((x, i) => {
        expect(together[i]).toBeCloseTo(x, 4);
      });
    });
  },
);

describe('pooling', () => {
  const hiddenAt = (states: NDArray, row: number, position: number): number[] => {
    const [, length, width] = states.shape;
    const start = (row * length + position) * width;
    return [...(states.data as Float32Array)].slice(start, start + width);
  };

  it.each<[string, number[]]>([
    ['cls', [0, 0]],
    ['last', [11, 8]],
  ])('%s takes the state of one token a row', async (pooling, positions) => {
    const golden = await goldenModel('bert-vectors');
    const model = reconfigured(golden.model, (c) => ({ ...c, sentence_embedding: { pooling } }));
    const { states, vectors } = await runModel(model, batchFeeds(golden), (c, batch) => {
      let x = model.architecture.embed(c, batch);
      for (let i = 0; i < model.architecture.blocks; i++) x = model.architecture.block(c, i, x, batch);
      return { states: x, vectors: outputTensor(model.architecture.head(c, x, batch)) };
    });
    const expected = positions.flatMap((position, row) => hiddenAt(states, row, position));
    expect([...(vectors.data as Float32Array)]).toEqual(expected);
  });

  it('scales to unit length where asked to', async () => {
    const golden = await goldenModel('bert-vectors');
    const model = reconfigured(golden.model, (c) => ({ ...c, sentence_embedding: { normalize: true } }));
    const vectors = await scores(model, batchFeeds(golden));
    for (let row = 0; row < 2; row++) {
      const plain = [...(golden.output.data as Float32Array)].slice(row * 16, row * 16 + 16);
      const length = Math.hypot(...plain);
      for (let i = 0; i < 16; i++) expect(vectors[row * 16 + i]).toBeCloseTo(plain[i] / length, 5);
    }
  });

  it('refuses one that is unknown', async () => {
    const { model } = await goldenModel('bert-vectors');
    const other = reconfigured(model, (c) => ({ ...c, sentence_embedding: { pooling: 'max' } }));
    await expect(scores(other, { ids: int64([3, 4]) })).rejects.toMatchObject({ code: 'models/pooling' });
  });
});

describe('images', () => {
  it('must have the size that the model was made for', async () => {
    const { model } = await goldenModel('vit-classes');
    const pixels = { dtype: 'float32' as const, shape: [1, 3, 8, 12], data: new Float32Array(288) };
    await expect(scores(model, { pixels })).rejects.toMatchObject({
      code: 'models/image-size',
      message: expect.stringContaining('8×12'),
    });
  });
});

describe('dropout', () => {
  it.each<[string, Record<string, number>, string[]]>([
    ['llama-default', { attention_dropout: 0.1 }, ['attention.0', 'attention.1']],
    [
      'gpt2-tied',
      { embd_pdrop: 0.1, attn_pdrop: 0.1, resid_pdrop: 0.1 },
      'embedding attention.0 residual.0.attention residual.0.mlp attention.1 residual.1.attention residual.1.mlp'.split(
        ' ',
      ),
    ],
    [
      'bert-classes',
      { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1 },
      'embedding attention.0 attention.output.0 output.0 attention.1 attention.output.1 output.1 classifier'.split(
        ' ',
      ),
    ],
    [
      'roberta-classes',
      { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0, classifier_dropout: 0.2 },
      'embedding attention.output.0 output.0 attention.output.1 output.1 classifier.in classifier.out'.split(
        ' ',
      ),
    ],
  ])('%s draws one mask at every place, in training only', async (name, probabilities, places) => {
    const golden = await goldenModel(name);
    const model = reconfigured(golden.model, (config) => ({ ...config, ...probabilities }));
    const trace = (training: boolean) => {
      const c = traceContext(model.architecture, { training });
      program({ output: outputTensor(forward(model.architecture, c, batchInputs(batchFeeds(golden)))) });
      return [...c.noise.values()];
    };
    expect(trace(false)).toEqual([]);
    expect(trace(true).map((spec) => spec.name)).toEqual(places.map((place) => `noise:${place}`));
  });
});

describe('shared tensors', () => {
  it('makes one mask, one table of angles and one half turn for all blocks', async () => {
    const { model } = await goldenModel('llama-default');
    const feeds = { ids: int64(Array.from({ length: 8 }, (_, i) => i + 3)) };
    const c = traceContext(model.architecture);
    const { outputs } = program({ output: outputTensor(forward(model.architecture, c, batchInputs(feeds))) });
    const constants = new Set<unknown>();
    const visit = (tensor: (typeof outputs)[string]) => {
      if (tensor.node.op.name === 'constant') constants.add(tensor.node);
      tensor.node.inputs.forEach(visit);
    };
    Object.values(outputs).forEach(visit);
    expect(constants.size).toBe(4);
  });
});
