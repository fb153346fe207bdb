import { z } from 'zod';
import { peftName } from '../formats/peft-names.ts';
import { add, matmul, mul, type NDArray, scale, sub, type Tensor, zeros } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { kaimingUniform } from './lora.ts';
import { adapterOptions, checkRank, loraOptions } from './options.ts';
import { commonConfig, commonOptions, peftParts, requirePart } from './peft-layers.ts';
import {
  defineForm,
  type ExportedFactors,
  type Factors,
  type InitContext,
  type Tensors,
} from './weight-form.ts';

const hutOptions = adapterOptions.extend({
  mode: z
    .enum(['residual', 'direct'])
    .default('residual')
    .describe(
      'residual: W₀ ∘ (1 + scale B A), as HiRA; direct: W₀ ∘ (B A), one rank starting as the constant 1',
    ),
  scale: z.number().positive().default(1).describe('scale of the residual'),
  init: z.enum(['kaiming', 'gaussian']).default('kaiming').describe('start of A: U(±1/√n), or N(0, 1/r²)'),
  dropout: loraOptions.shape.dropout,
  rankPattern: loraOptions.shape.rankPattern,
});

type HutOptions = z.infer<typeof hutOptions>;

function drawA(n: number, { rank, init }: HutOptions, context: InitContext): NDArray {
  if (init === 'kaiming') return kaimingUniform([rank, n], context.random('A'));
  const A = zeros([rank, n]);
  context.random('A').fillNormal(A.data as Float32Array);
  for (let i = 0; i < A.data.length; i++) A.data[i] = Number(A.data[i]) / rank;
  return A;
}

/** B A = 0, or B A = 1 everywhere with one rank. */
function factors(layer: LayerSpec, o: HutOptions, context: InitContext): Factors {
  checkRank('HUT', layer, o.rank);
  const [A, B] = [drawA(layer.in, o, context), zeros([layer.out, o.rank])];
  if (o.mode === 'direct') {
    A.data.fill(1 as never, 0, layer.in);
    for (let i = 0; i < layer.out; i++) B.data[i * o.rank] = 1;
  }
  return { trainable: { A, B }, frozen: {} };
}

/** T − 1. */
function change(p: Tensors, o: HutOptions): Tensor {
  const product = matmul(p.B, p.A);
  return o.mode === 'residual' ? scale(product, o.scale) : sub(product, 1);
}

/**
 * HUT (Zhang et al. 2024, arXiv 2409.13501): W = T ∘ W₀ with T elementwise from two low-rank factors. The paper's
 * formula is read as HiRA's (Huang et al. 2025), T = 1 + scale B A; `direct` is T = B A.
 */
export const hut = defineForm<HutOptions>({
  name: 'hut',
  title: 'HUT: Hadamard Updated Transformation',
  paper: 'Zhang et al., 2024, arXiv 2409.13501',
  trainable: 'r (m + n)',
  whenToChoose: 'Changes in proportion to W₀ and of high rank; many tokens a step.',
  options: hutOptions,
  kinds: ['linear'],
  shapes(layer, { rank }) {
    checkRank('HUT', layer, rank);
    return { trainable: { A: [rank, layer.in], B: [layer.out, rank] }, frozen: {} };
  },
  init: factors,
  forward(x, base, p, o, c) {
    const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
    const own = mul(base.weight, change(p, o));
    if (dropped === x) return base.forwardWith(x, add(base.weight, own));
    return add(base.forward(x), matmul(dropped, own, { transB: true }));
  },
  weight: (base, p, o) => add(base, mul(base, change(p, o))),
  toPeft(layers, o) {
    const pairs = layers.map((layer) => ({ name: layer.spec.name, ...hiraFactors(layer) }));
    // PEFT 0.21 reads rank_pattern but gives every layer the rank r: all get the largest, filled up with zeros.
    const rank = Math.max(...pairs.map(({ A }) => A.shape[0]));
    const tensors: Record<string, NDArray> = {};
    for (const { name, A, B } of pairs) {
      tensors[peftName(name, 'hira_A')] = leadingPart(A, [rank, A.shape[1]]);
      tensors[peftName(name, 'hira_B')] = leadingPart(B, [B.shape[0], rank]);
    }
    const config = {
      ...commonConfig('HIRA', layers, o),
      r: rank,
      hira_dropout: o.dropout,
      init_weights: true,
    };
    return { config, tensors };
  },
  fromPeft(adapter, layers) {
    const parts = peftParts(adapter, 'HIRA', layers);
    const { config } = adapter;
    const rank = config.r ?? 32;
    const rankPattern: Record<string, number> = {};
    const read = new Map(
      [...parts.layers].map(([name, { spec, parts: own }]) => {
        const A = requirePart(own, 'hira_A', name, [-1, spec.in]);
        const B = requirePart(own, 'hira_B', name, [spec.out, A.shape[0]]);
        if (A.shape[0] !== rank) rankPattern[name.replaceAll('.', '\\.')] = A.shape[0];
        return [name, { trainable: { A, B }, frozen: {} }];
      }),
    );
    const options = hutOptions.parse({ ...commonOptions(config, parts, 'hira'), rank, rankPattern });
    return { options, factors: read };
  },
});

/** HiRA's factors: the scale folded into B; `direct` gets one rank more, −1 everywhere. */
function hiraFactors({ arrays, options: o }: ExportedFactors<HutOptions>): { A: NDArray; B: NDArray } {
  const { A, B } = arrays;
  if (o.mode === 'residual')
    return {
      A,
      B: o.scale === 1 ? B : { ...B, data: (B.data as Float32Array).map((v) => v * o.scale) },
    };
  const [r, n] = A.shape;
  const [wideA, wideB] = [leadingPart(A, [r + 1, n]), leadingPart(B, [B.shape[0], r + 1])];
  wideA.data.fill(1 as never, r * n);
  for (let i = r; i < wideB.data.length; i += r + 1) wideB.data[i] = -1;
  return { A: wideA, B: wideB };
}

/** The matrix in a larger one of zeros; itself where it fills it. */
function leadingPart(a: NDArray, shape: readonly [number, number]): NDArray {
  const [rows, columns] = a.shape;
  if (rows === shape[0] && columns === shape[1]) return a;
  const out = zeros(shape);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out.data[i * shape[1] + j] = a.data[i * columns + j];
  return out;
}
