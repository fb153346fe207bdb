import { describe, expect, it } from 'vitest';
import { createEngine, type Engine } from '../engine/index.ts';
import { RankineError } from '../errors.ts';
import type { PeftAdapter } from '../formats/peft.ts';
import {
  add,
  constant,
  evaluate,
  gradients,
  input,
  mul,
  type NDArray,
  program,
  sum,
  type Tensor,
} from '../graph/index.ts';
import { apply, topological } from '../graph/tensor.ts';
import type { Architecture, LayerSpec } from '../models/architecture.ts';
import { type Context, traceContext } from '../models/context.ts';
import {
  arraysOf,
  counts,
  exported,
  layer,
  maxDifference,
  normal,
  outputOf,
  type Started,
  shaken,
  start,
  trace,
  weightOf,
} from './form-checks.contract.ts';
import { resolveOptions } from './options.ts';
import type { WeightForm } from './weight-form.ts';

type Options = Record<string, unknown>;
type Feeds = Record<string, NDArray>;

const [M, N] = [8, 12];
const BATCH = [2, 3];
const x = normal([...BATCH, N], 3);

/** Statistics that every form may ask for. */
const given = { statistics: { gradient: normal([M, N], 9) } };

/** The layer of a one-layer model, with a bias, as the checkpoint stores it. */
function oneLayer(spec: LayerSpec): Architecture {
  const none = () => {
    throw new Error('not part of this test');
  };
  const shape = spec.transposed ? [spec.in, spec.out] : [spec.out, spec.in];
  return {
    type: 'test',
    task: 'embedding',
    parameters: new Map([
      [`${spec.name}.weight`, { shape, init: 'zeros' }],
      [`${spec.name}.bias`, { shape: [spec.out], init: 'zeros' }],
    ]),
    layers: [spec],
    blocks: 1,
    embed: none,
    block: none,
    head: none,
  };
}

function factorInputs(s: Started): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(arraysOf(s)).map(([k, a]) => [k, input(k, a.shape, a.dtype)]));
}

function transposed(a: NDArray): NDArray {
  const [rows, columns] = a.shape;
  const data = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) data[j * rows + i] = Number(a.data[i * columns + j]);
  return { ...a, shape: [columns, rows], data };
}

const wide = (a: NDArray): NDArray =>
  a.dtype === 'float32' ? { ...a, data: Float64Array.from(a.data as Float32Array) } : a;

/** Tensors that differentiation takes for constants, held at their value: what the derivative is the slope of. */
function holdDetached(y: Tensor, feeds: Feeds): Tensor {
  const replaced = new Map<Tensor, Tensor>();
  for (const node of topological([y])) {
    const inputs = node.inputs.map((t) => replaced.get(t) ?? t);
    if (node.op.name === 'detach') {
      const { value } = evaluate(program({ value: node.inputs[0] }), feeds);
      replaced.set(node.outputs[0], constant({ ...value, dtype: 'float32' }));
    } else if (inputs.some((t, i) => t !== node.inputs[i])) {
      apply(node.op, inputs, node.attributes).forEach((t, i) => {
        replaced.set(node.outputs[i], t);
      });
    }
  }
  return replaced.get(y) ?? y;
}

/** A layer's loss with the form's penalty, and what feeds it. */
function lossOf(s: Started): { loss: Tensor; inputs: Record<string, Tensor>; feeds: Feeds } {
  const { y, inputs } = trace(s, x, true);
  const direction = normal(y.shape, 55);
  const own = sum(mul(y, input('direction', y.shape)));
  const loss = s.form.penalty ? add(own, s.form.penalty(inputs, s.options, 2)) : own;
  return { loss, inputs, feeds: { base: s.base, x, direction, ...arraysOf(s) } };
}

/** Derived gradients in float64 against central differences, and the engine's against them. */
async function checkGradients(engine: Engine, s: Started): Promise<void> {
  const { loss, inputs, feeds } = lossOf(s);
  const exact = Object.fromEntries(Object.entries(feeds).map(([k, a]) => [k, wide(a)]));
  const slopes = program({ loss: holdDetached(loss, exact) });
  const names = Object.keys(s.factors.trainable);
  const derivatives = gradients(
    loss,
    names.map((n) => inputs[n]),
  );
  const derived = program(Object.fromEntries(names.map((n, i) => [n, derivatives[i]])));
  const reference = evaluate(derived, exact);
  const at = () => Number(evaluate(slopes, exact).loss.data[0]);
  for (const name of names) {
    const data = exact[name].data as Float64Array;
    expect(reference[name].shape).toEqual(exact[name].shape);
    for (let i = 0; i < data.length; i += data.length > 24 ? 5 : 1) {
      const kept = data[i];
      data[i] = kept + 1e-5;
      const up = at();
      data[i] = kept - 1e-5;
      const slope = (up - at()) / 2e-5;
      data[i] = kept;
      const error = Math.abs(Number(reference[name].data[i]) - slope) / Math.max(1, Math.abs(slope));
      expect(error, `${name}[${i}]: ${reference[name].data[i]}, by differences ${slope}`).toBeLessThan(1e-6);
    }
  }
  const compiled = await engine.compile(derived);
  const result = await compiled.run(
    Object.fromEntries(compiled.inputs.map(({ name }) => [name, feeds[name]])),
  );
  for (const name of names) expect(relative(result[name], reference[name]), name).toBeLessThan(1e-4);
}

function relative(a: NDArray, expected: NDArray): number {
  const scale = (expected.data as Float64Array).reduce((most, v) => Math.max(most, Math.abs(v)), 1);
  return maxDifference(a, expected) / scale;
}

/** The layer in a model, run by the engine with the form on it, and plain with the merged weight in its place. */
async function checkInModel(engine: Engine, s: Started): Promise<void> {
  const { form, spec } = s;
  const p = factorInputs(s);
  const adapted = traceContext(oneLayer(spec), {
    hooks: new Map([
      [
        spec.name,
        (h, base, c: Context) =>
          form.forward?.(h, base, p, s.options, c) ??
          base.forwardWith(h, form.weight(base.weight, p, s.options, spec)),
      ],
    ]),
  });
  const xs = input('x', x.shape);
  const merged = program({ w: form.weight(input('base', s.base.shape), p, s.options, spec) });
  const programs = [
    program({ y: adapted.linear(spec.name, xs) }),
    program({ y: traceContext(oneLayer(spec)).linear(spec.name, xs) }),
  ];
  const run = async (what: typeof merged, weight: NDArray) => {
    const feeds: Feeds = {
      x,
      base: s.base,
      [`${spec.name}.weight`]: spec.transposed ? transposed(weight) : weight,
      [`${spec.name}.bias`]: normal([spec.out], 4),
      ...arraysOf(s),
    };
    const compiled = await engine.compile(what);
    return compiled.run(Object.fromEntries(compiled.inputs.map(({ name }) => [name, feeds[name]])));
  };
  const { w } = await run(merged, s.base);
  const [own, plain] = [await run(programs[0], s.base), await run(programs[1], w)];
  expect(relative(own.y, plain.y)).toBeLessThan(1e-5);
}

/** The weight that PEFT's file means on W₀, by the first form that reads it. */
function weightFromPeft(
  adapter: PeftAdapter,
  spec: LayerSpec,
  original: NDArray,
  all: readonly WeightForm[],
) {
  for (const form of all) {
    try {
      const imported = form.fromPeft?.(adapter, [spec]);
      if (!imported) continue;
      const factors = imported.factors.get(spec.name)!;
      const base = factors.base ?? original;
      return weightOf({
        form,
        spec,
        options: resolveOptions(imported.options, spec),
        original,
        base,
        factors,
      });
    } catch (error) {
      if (!(error instanceof RankineError) || error.code !== 'adapters/peft-flavour') throw error;
    }
  }
  throw new Error(`no form reads ${adapter.config.peft_type}`);
}

/** What every weight form must hold, for one choice of its options. `all` are the forms that may read its files. */
export function weightFormContract(form: WeightForm, options: Options, all: readonly WeightForm[]): void {
  describe(`${form.name} ${JSON.stringify(options)}`, () => {
    const spec = layer(M, N, { bias: true });
    const begun = (at: LayerSpec = spec, more: Options = {}) =>
      start(form, at, { ...options, ...more }, given);

    it.skipIf(form.startsAtBase === false)('starts as the base', async () => {
      const s = await begun();
      expect(maxDifference(weightOf(s), s.original)).toBeLessThan(1e-5);
      const plain = {
        ...s,
        base: s.original,
        form: { ...form, forward: undefined, weight: (w: Tensor) => w },
      };
      expect(maxDifference(outputOf(s, x), outputOf(plain, x))).toBeLessThan(1e-5);
    });

    it('draws the same bits from the same seed', async () => {
      const [a, b] = [await begun(), await begun()];
      expect(a.factors).toEqual(b.factors);
    });

    it('has the gradients of finite differences', async () => {
      const engine = await createEngine({ threads: 1 });
      await checkGradients(engine, shaken(await begun()));
      await engine.dispose();
    });

    it.each([false, true])('computes what its merged weight computes, stored in×out: %s', async (inFirst) => {
      const engine = await createEngine({ threads: 1 });
      await checkInModel(engine, shaken(await begun({ ...spec, transposed: inFirst })));
      await engine.dispose();
    });

    it('costs what its formula says', async () => {
      const s = await begun();
      const { trainable, frozen, state = 0 } = form.cost(spec, s.options);
      expect([counts(s.factors.trainable), counts(s.factors.frozen)]).toEqual([trainable, frozen]);
      const steps = form.steps?.(s.options, [{ spec, options: s.options, ...s.factors }]);
      expect(counts(steps?.state ?? {})).toBe(state);
    });

    it('refuses a rank above the smaller side, or takes it at its word', async () => {
      const more = { rank: M + 1 };
      try {
        const s = await begun(spec, more);
        expect(counts(s.factors.trainable)).toBe(form.cost(spec, s.options).trainable);
      } catch (error) {
        expect(error).toMatchObject({ code: 'adapters/rank', message: expect.stringContaining(spec.name) });
      }
    });

    it.skipIf(!form.toPeft)("means the same as PEFT's file of it", async () => {
      const s = shaken(await begun());
      for (const write of [form.toPeft, writesLora(s) ? form.toLora : undefined]) {
        if (!write) continue;
        const read = weightFromPeft(write([exported(s)], s.options), spec, s.original, all);
        expect(maxDifference(read, weightOf(s))).toBeLessThan(1e-5);
      }
    });

    it.skipIf(!form.kinds.includes('embedding'))('adapts an embedding table', async () => {
      const table: LayerSpec = { name: 'wte', kind: 'embedding', out: M, in: N };
      const s = shaken(await begun(table));
      const ids: NDArray = { dtype: 'int64', shape: [2, 2], data: BigInt64Array.of(0n, 7n, 3n, 3n) };
      const merged = {
        ...s,
        base: weightOf(s),
        form: { ...form, forward: undefined, weight: (w: Tensor) => w },
      };
      expect(maxDifference(outputOf(s, ids), outputOf(merged, ids))).toBeLessThan(1e-9);
      if (!form.toPeft) return;
      const read = weightFromPeft(form.toPeft([exported(s)], s.options), table, s.original, all);
      expect(maxDifference(read, weightOf(s))).toBeLessThan(1e-5);
    });
  });

  function writesLora(s: Started): boolean {
    try {
      return Boolean(form.toLora?.([exported(s)], s.options));
    } catch (error) {
      expect(error).toMatchObject({ code: 'adapters/no-lora' });
      return false;
    }
  }
}
