import { describe, expect, it } from 'vitest';
import { array, type NDArray } from '../graph/index.ts';
import { architectureOf } from '../models/index.ts';
import { dora } from './dora.ts';
import {
  exported,
  layer,
  maxDifference,
  normal,
  outputOf,
  type Started,
  shaken,
  start,
  weightOf,
} from './form-checks.contract.ts';
import { lora } from './lora.ts';
import { loraOptions, resolveOptions } from './options.ts';
import { pissa } from './pissa.ts';
import { rslora } from './rslora.ts';
import { selectLayers } from './targets.ts';

const [M, N] = [8, 12];
const x = normal([2, 3, N], 3);
const drop = array(
  Array.from(x.data as Float32Array, (_, i) => (i % 3 === 0 ? 0 : 1.5)),
  x.shape,
);

/** x Wᵀ by the definition. */
function product(h: NDArray, w: NDArray): number[] {
  const [m, n] = w.shape;
  const rows = h.data.length / n;
  return Array.from({ length: rows * m }, (_, e) => {
    let total = 0;
    for (let j = 0; j < n; j++)
      total += Number(h.data[Math.floor(e / m) * n + j]) * Number(w.data[(e % m) * n + j]);
    return total;
  });
}

const times = (a: NDArray, b: NDArray): NDArray =>
  array(
    Array.from(a.data as Float32Array, (v, i) => Number(v) * Number(b.data[i])),
    a.shape,
    'float64',
  );

function change(s: Started): NDArray {
  return array(
    Array.from(
      weightOf({ ...s, form: lora }).data as Float64Array,
      (v, i) => Number(v) - Number(s.base.data[i]),
    ),
    [M, N],
    'float64',
  );
}

describe('dropout', () => {
  it('acts on the adapter of a LoRA, not on the layer', async () => {
    const s = shaken(await start(lora, layer(M, N), { rank: 4, dropout: 1 / 3 }));
    const [plain, low] = [product(x, s.base), product(times(x, drop), change(s))];
    const own = outputOf(s, x, { training: true, drop });
    for (const [i, y] of plain.entries()) expect(Number(own.data[i])).toBeCloseTo(y + low[i], 9);
  });

  it('makes DoRA base(x) + (g/‖V‖ − 1) ∘ x W₀ᵀ + (g/‖V‖) ∘ s x′ Aᵀ Bᵀ', async () => {
    const s = shaken(await start(dora, layer(M, N), { rank: 4, dropout: 1 / 3 }));
    const delta = change(s);
    const ratio = Array.from({ length: M }, (_, o) => {
      let norm = 0;
      for (let j = 0; j < N; j++)
        norm += (Number(s.base.data[o * N + j]) + Number(delta.data[o * N + j])) ** 2;
      return Number(s.factors.trainable.magnitude.data[o]) / Math.sqrt(norm);
    });
    const [plain, low] = [product(x, s.base), product(times(x, drop), delta)];
    const own = outputOf(s, x, { training: true, drop });
    for (const [i, y] of plain.entries())
      expect(Number(own.data[i])).toBeCloseTo(y + (ratio[i % M] - 1) * y + ratio[i % M] * low[i], 9);
    const still = { ...drop, data: new Float32Array(drop.data.length).fill(1) };
    expect(maxDifference(outputOf(s, x, { training: true, drop: still }), outputOf(s, x))).toBeLessThan(1e-9);
  });
});

describe('scales', () => {
  it('are α/r, and α/√r for rsLoRA', async () => {
    const begun = await Promise.all(
      [lora, rslora].map((form) => start(form, layer(M, N), { rank: 4, alpha: 3 })),
    );
    const [plain, stable] = begun.map((s) => shaken(s));
    const ratio = (i: number) =>
      (Number(weightOf(stable).data[i]) - Number(stable.base.data[i])) / Number(change(plain).data[i]);
    for (const i of [0, 17, 95]) expect(ratio(i)).toBeCloseTo(2, 6);
  });

  it('come from the first pattern that matches, by suffix or expression', () => {
    const options = loraOptions.parse({
      rank: 8,
      alpha: 4,
      rankPattern: { 'h\\.0\\..*': 2, c_attn: 6 },
      alphaPattern: { c_attn: 9 },
    });
    const of = (name: string) => {
      const { rank, alpha } = resolveOptions(options, { ...layer(M, N), name });
      return [rank, alpha];
    };
    expect(of('transformer.h.0.attn.c_attn')).toEqual([2, 9]);
    expect(of('transformer.h.1.attn.c_attn')).toEqual([6, 9]);
    expect(of('transformer.h.1.attn.my_c_attn')).toEqual([8, 4]);
  });
});

describe('PiSSA', () => {
  it('takes the leading singular triples out of the weight, which a LoRA of twice the rank puts back', async () => {
    const s = await start(pissa, layer(M, N), { rank: 3, alpha: 3 });
    expect(maxDifference(s.base, s.original)).toBeGreaterThan(0.1);
    expect(maxDifference(weightOf(s), s.original)).toBeLessThan(1e-5);
    const { config, tensors } = pissa.toPeft!([exported(shaken(s))], s.options);
    expect(config).toMatchObject({
      peft_type: 'LORA',
      r: 6,
      lora_alpha: 6,
      rank_pattern: {},
      alpha_pattern: {},
    });
    expect(Object.values(tensors).map((t) => t.shape)).toEqual([
      [6, N],
      [M, 6],
    ]);
  });
});

describe('reading PEFT files', () => {
  const saved = async () => {
    const s = await start(lora, layer(M, N), { rank: 4 });
    return { s, file: lora.toPeft!([exported(s)], s.options) };
  };
  const reading =
    (file: Parameters<NonNullable<typeof lora.fromPeft>>[0], specs = [layer(M, N)]) =>
    () =>
      lora.fromPeft!(file, specs);

  it('refuses other bases, other flavours and adapters without factors', async () => {
    const { file } = await saved();
    expect(reading(file, [layer(M, M)])).toThrow(expect.objectContaining({ code: 'adapters/other-base' }));
    expect(reading(file, [{ ...layer(M, N + 1), name: 'h.0.m8x12' }])).toThrow(
      expect.objectContaining({ code: 'adapters/other-base' }),
    );
    expect(reading({ ...file, tensors: {} })).toThrow(expect.objectContaining({ code: 'adapters/empty' }));
    const flavour = expect.objectContaining({ code: 'adapters/peft-flavour' });
    expect(reading({ ...file, config: { ...file.config, use_dora: true } })).toThrow(flavour);
    expect(reading({ ...file, config: { ...file.config, peft_type: 'MISS' } })).toThrow(flavour);
  });

  it("refuses factors that belong to a base that PEFT changed, such as PiSSA's before conversion", async () => {
    const { file } = await saved();
    for (const init of ['pissa', 'pissa_niter_16', 'olora'])
      expect(reading({ ...file, config: { ...file.config, init_lora_weights: init } })).toThrow(
        expect.objectContaining({ code: 'adapters/changed-base' }),
      );
    expect(reading({ ...file, config: { ...file.config, init_lora_weights: 'gaussian' } })).not.toThrow();
  });
});

describe('targets', () => {
  const gpt2 = architectureOf(
    { model_type: 'gpt2', vocab_size: 32, n_embd: 16, n_layer: 12, n_head: 2, n_positions: 8 },
    'language-modelling',
  );
  const names = (selection: string | string[], exclude?: string | string[]) =>
    selectLayers(gpt2, selection, exclude, ['linear']).map((l) => l.name);

  it('are suffixes, whole paths, one expression, or all linear layers of the blocks', () => {
    expect(names(['c_attn'])).toHaveLength(12);
    expect(names(['transformer.h.1.mlp.c_fc'])).toEqual(['transformer.h.1.mlp.c_fc']);
    expect(names('.*\\.h\\.(0|11)\\.attn\\.c_.*')).toHaveLength(4);
    expect(names('all-linear')).toHaveLength(48);
    expect(names('all-linear')).not.toContain('lm_head');
    expect(names('all-linear', ['c_proj'])).toHaveLength(24);
  });

  it('that match nothing, or are no expression, are errors that help', () => {
    expect(() => names(['q_proj'])).toThrow(
      expect.objectContaining({ code: 'adapters/no-target', message: expect.stringContaining('c_attn') }),
    );
    expect(() => names('(')).toThrow(expect.objectContaining({ code: 'adapters/target-expression' }));
    expect(() => names(['wte'])).toThrow(expect.objectContaining({ code: 'adapters/target-kind' }));
  });
});
