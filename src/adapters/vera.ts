import { z } from 'zod';
import { peftName, peftSharedName } from '../formats/peft-names.ts';
import { add, matmul, mul, type NDArray, reshape, type Tensor, zeros } from '../graph/index.ts';
import { productsToPeft } from './lora-peft.ts';
import { adapterOptions, loraOptions } from './options.ts';
import { biasToPeft, commonConfig, commonOptions, peftParts, requirePart } from './peft-layers.ts';
import { basisRows, jointBasis, leadingSlice, sharedArray, uniformEntry } from './shared-basis.ts';
import { defineForm, type ExportedFactors, type Tensors } from './weight-form.ts';

const veraOptions = adapterOptions.extend({
  rank: z.int().positive().default(256).describe('rank of the shared random pair'),
  dropout: loraOptions.shape.dropout,
  dInitial: z.number().default(0.1).describe('start of the vector d'),
  seed: z.int().min(0).default(0).describe('seed of the shared random pair'),
});

type VeraOptions = z.infer<typeof veraOptions>;

/** U(−√(6/n), √(6/n)): Kaiming for n inputs. */
function pair(m: number, n: number, { rank, seed }: VeraOptions): { A: NDArray; B: NDArray } {
  const make = (stream: string, rows: number, columns: number) =>
    sharedArray(`${stream}/${seed}/${rows}x${columns}`, () =>
      basisRows(seed, stream, { rows, columns }, uniformEntry(Math.sqrt(6 / columns))),
    );
  return { A: make('vera/A', rank, n), B: make('vera/B', m, rank) };
}

const column = (x: Tensor) => reshape(x, [-1, 1]);

/**
 * VeRA (Kopiczko et al. 2024, arXiv 2310.11454), as in PEFT: W = W₀ + diag(b) B diag(d) A with A ∈ R^{r×n} and
 * B ∈ R^{m×r} random, frozen and shared by all layers; b = 0 and d = 0.1 at the start are trained.
 */
export const vera = defineForm<VeraOptions>({
  name: 'vera',
  title: 'VeRA: Vector-based Random Matrix Adaptation',
  paper: 'Kopiczko et al., ICLR 2024, arXiv 2310.11454',
  trainable: 'm + r',
  whenToChoose: 'Very small adapters for many tasks, when two vectors a layer are enough.',
  options: veraOptions,
  kinds: ['linear'],
  shapes: (layer, { rank }) => ({
    trainable: { d: [rank], b: [layer.out] },
    frozen: { A: [rank, layer.in], B: [layer.out, rank] },
    shared: ['A', 'B'],
  }),
  init(layer, o) {
    const d = zeros([o.rank]);
    d.data.fill(o.dInitial as never);
    return { trainable: { d, b: zeros([layer.out]) }, frozen: pair(layer.out, layer.in, o) };
  },
  forward(x, base, p, o, c) {
    const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
    const low = mul(matmul(dropped, p.A, { transB: true }), p.d);
    return add(base.forward(x), mul(matmul(low, p.B, { transB: true }), p.b));
  },
  weight: (base, p: Tensors) => add(base, matmul(mul(p.B, column(p.b)), mul(p.A, column(p.d)))),
  toPeft(layers, o) {
    const widest = layers.reduce((a, l) => (l.spec.in > a.spec.in ? l : a));
    const tensors: Record<string, NDArray> = {};
    const scaled: NDArray[] = [];
    for (const { spec, arrays } of layers) {
      const ratio = scaleBetween(arrays.A, widest.arrays.A);
      scaled.push(times(arrays.A, 1 / ratio, widest.arrays.A));
      tensors[peftName(spec.name, 'vera_lambda_b')] = arrays.b;
      tensors[peftName(spec.name, 'vera_lambda_d')] = times(arrays.d, ratio);
    }
    const outs = Math.max(...layers.map((l) => l.spec.out));
    tensors[peftSharedName('vera_A')] = jointBasis('VeRA', scaled, [o.rank, widest.spec.in]);
    tensors[peftSharedName('vera_B')] = jointBasis(
      'VeRA',
      layers.map((l) => l.arrays.B),
      [outs, o.rank],
    );
    return { config: veraConfig(layers, o), tensors };
  },
  toLora: (layers, o) =>
    productsToPeft(
      layers.map((layer) => {
        const { A, B, b, d } = layer.arrays;
        return { layer, A: scaledRows(A, d), B: scaledRows(B, b) };
      }),
      o,
    ),
  fromPeft(adapter, layers) {
    const parts = peftParts(adapter, 'VERA', layers);
    const rank = adapter.config.r ?? 256;
    const A = requirePart(parts.shared, 'vera_A', 'all layers', [rank, -1]);
    const B = requirePart(parts.shared, 'vera_B', 'all layers', [-1, rank]);
    const factors = new Map(
      [...parts.layers].map(([name, { spec, parts: own }]) => [
        name,
        {
          trainable: {
            d: requirePart(own, 'vera_lambda_d', name, [rank]),
            b: requirePart(own, 'vera_lambda_b', name, [spec.out]),
          },
          frozen: { A: leadingSlice(A, [rank, spec.in]), B: leadingSlice(B, [spec.out, rank]) },
        },
      ]),
    );
    const { config } = adapter;
    const options = veraOptions.parse({
      ...commonOptions(config, parts, 'vera'),
      dInitial: config.d_initial ?? 0.1,
      seed: config.projection_prng_key ?? 0,
    });
    return { options, factors };
  },
});

function veraConfig(layers: readonly ExportedFactors[], o: VeraOptions) {
  return {
    ...commonConfig('VERA', layers, o),
    r: o.rank,
    vera_dropout: o.dropout,
    d_initial: o.dInitial,
    projection_prng_key: o.seed,
    // torch's generator is not ours: the numbers themselves are in the file.
    save_projection: true,
    bias: biasToPeft(o.bias, 'vera'),
  };
}

/** a = scale · slice of b: PEFT draws one A for the widest layer, we scale each layer's slice to its own width. */
function scaleBetween(a: NDArray, b: NDArray): number {
  return a === b || a.data[0] === b.data[0] ? 1 : Number(a.data[0]) / Number(b.data[0]);
}

/** The array times a number, rounded to the very entries of `like` where the slices agree to float32. */
function times(a: NDArray, by: number, like?: NDArray): NDArray {
  if (by === 1) return a;
  const data = Float32Array.from(a.data as Float32Array, (x, i) => {
    const value = x * by;
    if (!like) return value;
    const twin = Number(like.data[Math.floor(i / a.shape[1]) * like.shape[1] + (i % a.shape[1])]);
    return Math.abs(value - twin) <= 1e-6 * Math.abs(twin) ? twin : value;
  });
  return { ...a, data };
}

function scaledRows(a: NDArray, by: NDArray): NDArray {
  const [, n] = a.shape;
  return { ...a, data: (a.data as Float32Array).map((v, i) => v * Number(by.data[Math.floor(i / n)])) };
}
