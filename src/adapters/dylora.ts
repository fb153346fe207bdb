import { z } from 'zod';
import {
  add,
  detach,
  matmul,
  mul,
  type NDArray,
  slice,
  sub,
  type Tensor,
  unsqueeze,
  zeros,
} from '../graph/index.ts';
import type { Random } from '../linalg/index.ts';
import { loraDelta, loraFactors, loraShapes } from './lora.ts';
import { productsToPeft } from './lora-peft.ts';
import { adapterOptions, loraOptions } from './options.ts';
import { type AdaptedLayer, defineForm, type FormSteps, type Tensors } from './weight-form.ts';

const dyloraOptions = adapterOptions.extend({
  alpha: z.number().positive().default(16).describe('a prefix of b ranks is scaled by alpha / b'),
  minRank: z.int().positive().default(1).describe('shortest prefix that is drawn'),
  mode: z
    .enum(['frozen', 'all'])
    .default('frozen')
    .describe('frozen: only the last rank of the prefix gets gradient; all: the whole prefix'),
  prefixScale: z
    .enum(['perRank', 'const'])
    .default('perRank')
    .describe('perRank: alpha / b; const: alpha / rank for every prefix'),
  distribution: z.enum(['uniform', 'geometric']).default('uniform').describe('how prefixes are drawn'),
  geometric: z.number().positive().max(1).default(0.15).describe('p of the geometric distribution'),
  lazyRows: z
    .boolean()
    .default(false)
    .describe('ranks without gradient stay as they are, whatever momentum and decay do'),
  servedRank: z
    .int()
    .positive()
    .optional()
    .describe('ranks used outside training and written (default: all)'),
  dropout: loraOptions.shape.dropout,
});

export type DyloraOptions = z.infer<typeof dyloraOptions>;

const checked = dyloraOptions
  .refine((o) => o.minRank <= o.rank, { path: ['minRank'], error: 'is above rank' })
  .refine((o) => (o.servedRank ?? 1) <= o.rank, { path: ['servedRank'], error: 'is above rank' });

function scaleOf(o: DyloraOptions, b: number): number {
  return o.alpha / (o.prefixScale === 'perRank' ? b : o.rank);
}

/** A prefix length b ∈ minRank … rank. */
export function drawRank(source: Random, { rank, minRank, distribution, geometric }: DyloraOptions): number {
  const u = new Float64Array(1);
  source.fillUniform(u);
  const count = rank - minRank + 1;
  if (distribution === 'uniform') return minRank + Math.floor(u[0] * count);
  // Truncated: P(b) ∝ p (1 − p)^(b − minRank).
  const q = 1 - geometric;
  if (q === 0) return minRank;
  const drawn = Math.floor(Math.log(1 - u[0] * (1 - q ** count)) / Math.log(q));
  return minRank + Math.min(drawn, count - 1);
}

/** What a step multiplies ranks by, [r], and which ranks get gradient, [r]: one graph serves every prefix. */
export function setPrefix(frozen: Readonly<Record<string, NDArray>>, o: DyloraOptions, b: number): void {
  const s = scaleOf(o, b);
  for (let k = 0; k < o.rank; k++) {
    frozen.prefix.data[k] = k < b ? s : 0;
    frozen.live.data[k] = o.mode === 'frozen' ? Number(k === b - 1) : Number(k < b);
  }
}

/** The tensor, with gradient only where `live` is 1. */
function partly(x: Tensor, live: Tensor): Tensor {
  return add(mul(x, live), detach(mul(x, sub(1, live))));
}

function served(p: Tensors, o: DyloraOptions): { A: Tensor; B: Tensor; scale: number } {
  const b = o.servedRank ?? o.rank;
  return { A: slice(p.A, 0, 0, b), B: slice(p.B, 1, 0, b), scale: scaleOf(o, b) };
}

/** One prefix a step for all layers; ranks that got no gradient are put back where `lazyRows` asks for it. */
function steps(o: DyloraOptions, layers: readonly AdaptedLayer<DyloraOptions>[]): FormSteps<DyloraOptions> {
  const kept = new Map<NDArray, Float32Array>();
  const factors = layers.flatMap((l) => [l.trainable.A, l.trainable.B]);
  return {
    state: {},
    beforeStep(info) {
      const b = drawRank(info.random('rank'), o);
      for (const layer of info.layers) setPrefix(layer.frozen, layer.options, b);
      info.report('dylora/rank', b);
      if (o.lazyRows) for (const a of factors) kept.set(a, (a.data as Float32Array).slice());
    },
    ...(o.lazyRows
      ? {
          afterStep(info) {
            for (const { trainable, frozen } of info.layers) {
              const [, n] = trainable.A.shape;
              putBack(trainable.A, kept, (i) => frozen.live.data[Math.floor(i / n)] === 0);
              putBack(trainable.B, kept, (i) => frozen.live.data[i % o.rank] === 0);
            }
          },
        }
      : {}),
  };
}

function putBack(a: NDArray, kept: ReadonlyMap<NDArray, Float32Array>, idle: (i: number) => boolean): void {
  const before = kept.get(a)!;
  for (let i = 0; i < before.length; i++) if (idle(i)) a.data[i] = before[i];
}

/**
 * DyLoRA (Valipour et al. 2023, arXiv 2210.07558): LoRA of which every leading part works alone. Each step trains a
 * random prefix of b ranks, (α/b) B[:, :b] A[:b, :]; after training any rank may be cut out.
 */
export const dylora = defineForm<DyloraOptions>({
  name: 'dylora',
  title: 'DyLoRA: Dynamic Search-Free Low-Rank Adaptation',
  paper: 'Valipour et al., EACL 2023, arXiv 2210.07558',
  trainable: 'r (m + n)',
  whenToChoose: 'The rank is not known yet, or differs between devices: one training serves all ranks.',
  options: checked,
  kinds: ['linear'],
  shapes: (layer, o) => ({ ...loraShapes(layer, o), frozen: { prefix: [o.rank], live: [o.rank] } }),
  init(layer, o, context) {
    const { trainable } = loraFactors(layer, { ...o, rankPattern: {}, alphaPattern: {} }, context);
    const frozen = { prefix: zeros([o.rank]), live: zeros([o.rank]) };
    setPrefix(frozen, o, o.rank);
    return { trainable, frozen };
  },
  forward(x, base, p, o, c) {
    const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
    if (!c.training) {
      const { A, B, scale } = served(p, o);
      const low = matmul(dropped, A, { transB: true });
      return add(base.forward(x), matmul(low, B, { transB: true, alpha: scale }));
    }
    const low = matmul(dropped, partly(p.A, unsqueeze(p.live, 1)), { transB: true });
    return add(base.forward(x), matmul(mul(low, p.prefix), partly(p.B, p.live), { transB: true }));
  },
  weight(base, p, o, layer) {
    const { A, B, scale } = served(p, o);
    return add(base, loraDelta(scale, { A, B }, layer));
  },
  steps,
  toPeft(layers, o) {
    const b = o.servedRank ?? o.rank;
    const file = productsToPeft(
      layers.map((layer) => ({
        layer,
        A: leading(layer.arrays.A, b, -1),
        B: leading(layer.arrays.B, -1, b),
      })),
      { ...o, rank: b },
    );
    return { ...file, config: { ...file.config, lora_alpha: scaleOf(o, b) * b, ...prefixes(o) } };
  },
});

/** What a full file needs to be cut later; PEFT ignores it. */
function prefixes({ servedRank, ...o }: DyloraOptions): Record<string, unknown> {
  if (servedRank !== undefined) return {};
  const { minRank, distribution, prefixScale } = o;
  return { dylora: { min_rank: minRank, distribution, prefix_scale: prefixScale } };
}

/** The first rows and columns; −1: all. */
function leading(a: NDArray, rows: number, columns: number): NDArray {
  const [m, n] = [rows < 0 ? a.shape[0] : rows, columns < 0 ? a.shape[1] : columns];
  const out = zeros([m, n]);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) out.data[i * n + j] = a.data[i * a.shape[1] + j];
  return out;
}
