import { afterAll, beforeAll, expect, it } from 'vitest';
import { createEngine, type Engine } from '../engine/index.ts';
import { add, input, linear, program, reshape, type Tensor } from '../graph/index.ts';
import { type LayerHook, traceContext } from './context.ts';
import { gpt2 } from './gpt2.ts';
import { drawParameter } from './model.ts';
import { splitting } from './split-product.ts';

const WIDTH = 192;
const LAYER = 'transformer.h.0.mlp.c_proj';
const architecture = gpt2(
  { model_type: 'gpt2', n_embd: WIDTH, n_head: 2, n_layer: 1, vocab_size: 9 },
  'language-modelling',
);

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 2 });
});
afterAll(() => engine.dispose());

const x = input('x', [1, 1, 4 * WIDTH]);
const layer = (hook?: LayerHook): Tensor =>
  traceContext(architecture, { hooks: hook && new Map([[LAYER, hook]]) }).linear(LAYER, x);

/** A form that keeps the base's product and adds to it. */
const low: LayerHook = (h, base) => add(base.forward(h), linear(h, input('a', [WIDTH, 4 * WIDTH])));

async function run(y: Tensor): Promise<Float32Array> {
  const executable = await engine.compile(program({ y: reshape(y, [WIDTH]) }));
  const feeds = executable.inputs.map(({ name, shape }) => {
    const value = drawParameter(name, { shape, init: { normal: 1 } }, 3);
    return [name, value];
  });
  return (await executable.run(Object.fromEntries(feeds))).y.data as Float32Array;
}

function shapes(y: Tensor): string[] {
  const found: string[] = [];
  for (let nodes = [y.node]; nodes.length > 0; nodes = nodes.flatMap((n) => n.inputs.map((t) => t.node)))
    found.push(...nodes.filter((n) => n.op.name === 'matmul').map((n) => n.outputs[0].shape.join('×')));
  return found;
}

it('gives the same product in as many parts as threads', async () => {
  const [plain, split] = [layer(), layer(splitting(4))];
  expect(shapes(plain)).toEqual(['1×1×192']);
  expect(shapes(split)).toEqual(['4×1×192']);
  const [want, got] = [await run(plain), await run(split)];
  want.forEach((w, i) => {
    expect(Math.abs(got[i] - w)).toBeLessThan(1e-3);
  });
  expect(Math.max(...want)).toBeGreaterThan(10);
});

it('splits the product inside a weight form', async () => {
  const [plain, split] = [layer(low), layer(splitting(2, low))];
  expect(shapes(split)).toContain('2×1×192');
  const [want, got] = [await run(plain), await run(split)];
  want.forEach((w, i) => {
    expect(Math.abs(got[i] - w)).toBeLessThan(1e-3);
  });
});

it('leaves one thread and small layers whole', () => {
  expect(shapes(layer(splitting(1)))).toEqual(['1×1×192']);
  // 768 inputs: 8 parts of 96, not 16 of 48.
  expect(shapes(layer(splitting(64)))).toEqual(['8×1×192']);
});
