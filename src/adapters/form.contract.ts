import { describe, expect, it } from 'vitest';
import { createEngine, type Engine } from '../engine/index.ts';
import { RankineError } from '../errors.ts';
import type { PeftAdapter } from '../formats/peft.ts';
import { input, type NDArray, program, type Tensor } from '../graph/index.ts';
import type { Architecture, LayerSpec } from '../models/architecture.ts';
import { type Context, traceContext } from '../models/context.ts';
import {
  arraysOf,
  checkShapes,
  exported,
  layer,
  maxDifference,
  normal,
  outputOf,
  type Started,
  shaken,
  start,
  unadapted,
  weightOf,
} from './form-checks.contract.ts';
import { checkGradients, relative } from './form-gradients.contract.ts';
import { type AdapterOptions, resolveOptions } from './options.ts';
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
      expect(maxDifference(outputOf(s, x), outputOf(unadapted(s), x))).toBeLessThan(1e-5);
    });

    it('draws the same bits from the same seed', async () => {
      const [a, b] = [await begun(), await begun()];
      expect(a.factors).toEqual(b.factors);
    });

    it('has the gradients of finite differences', async () => {
      const engine = await createEngine({ threads: 1 });
      await checkGradients(engine, shaken(await begun()), x);
      await engine.dispose();
    });

    it.each([false, true])('computes what its merged weight computes, stored in×out: %s', async (inFirst) => {
      const engine = await createEngine({ threads: 1 });
      await checkInModel(engine, shaken(await begun({ ...spec, transposed: inFirst })));
      await engine.dispose();
    });

    it('says beforehand what its start makes, on wide and tall layers', async () => {
      checkShapes(await begun());
      const tall = layer(N, M);
      const gradient = { statistics: { gradient: normal([N, M], 9) } };
      checkShapes(await start(form, tall, options, gradient));
    });

    it('refuses a rank above the smaller side, or takes it at its word', async () => {
      const more = { rank: M + 1 };
      try {
        const s = await begun(spec, more);
        checkShapes(s);
      } catch (error) {
        const refusal = { code: 'adapters/rank', message: expect.stringContaining(spec.name) };
        expect(error).toMatchObject(refusal);
        const own = resolveOptions(form.options.parse({ ...options, ...more }) as AdapterOptions, spec);
        expect(() => form.shapes(spec, own)).toThrow(expect.objectContaining(refusal));
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
      checkShapes(s);
      const ids: NDArray = { dtype: 'int64', shape: [2, 2], data: BigInt64Array.of(0n, 7n, 3n, 3n) };
      const merged = unadapted(s, weightOf(s));
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
