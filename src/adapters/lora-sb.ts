import { z } from 'zod';
import { RankineError } from '../errors.ts';
import type { NDArray } from '../graph/index.ts';
import { coreForward, coreShapes, coreToPeft, coreWeight, diagonal, singularFactors } from './core-form.ts';
import { leadingTriples } from './leading-triples.ts';
import { adapterOptions, checkRank, loraOptions } from './options.ts';
import { defineForm, type InitContext } from './weight-form.ts';

/** Krylov steps for large matrices: the reference's ten, for the spectrum of signs is flat. */
const ITERATIONS = 10;

export const loraSbOptions = adapterOptions.extend({
  rank: z.int().positive().default(32).describe('size r of the trained r×r core'),
  rankPattern: loraOptions.shape.rankPattern,
  scale: z.number().positive().default(1).describe('scale s of the change; the start does not depend on it'),
  dropout: loraOptions.shape.dropout,
  batches: z
    .int()
    .positive()
    .default(8)
    .describe('batches of the gradient estimate (the paper: 1/1000 of the data)'),
  firstRate: z
    .number()
    .positive()
    .optional()
    .describe("rate of the step that is approximated (default: the run's first: peak / warm-up)"),
  direction: z
    .enum(['sign', 'gradient'])
    .default('sign')
    .describe("the step that is approximated: Adam's first, or plain gradient descent"),
});

export type LoraSbOptions = z.infer<typeof loraSbOptions>;

/** −η₁ sign(Ḡ), the first step of full fine-tuning with Adam; sign(0) = 0. */
function firstStep(gradient: NDArray, o: LoraSbOptions, context: InitContext): NDArray {
  const rate = o.firstRate ?? context.firstRate;
  const data = (gradient.data as Float32Array).map(
    (g) => -rate * (o.direction === 'sign' ? Math.sign(g) : g),
  );
  return { ...gradient, data };
}

/**
 * LoRA-SB (Ponkshe et al. 2024, arXiv 2411.19557): W₀ + s B R A where B, R, A start as the truncated SVD of the first
 * step that full fine-tuning would have taken; only R is trained.
 */
export const loraSb = defineForm<LoraSbOptions>({
  name: 'lora-sb',
  title: 'Initialization using Update Approximation is a Silver Bullet for Low-Rank Fine-Tuning',
  paper: 'Ponkshe et al., 2024, arXiv 2411.19557',
  trainable: 'r²',
  whenToChoose: 'When the number of trained parameters counts most: rounds, noise or storage per parameter.',
  options: loraSbOptions,
  kinds: ['linear'],
  startsAtBase: false,
  needs: (o) => ({ gradient: { batches: o.batches } }),
  shapes: (layer, o) => coreShapes('LoRA-SB', layer, o),
  init(layer, o, context) {
    checkRank('LoRA-SB', layer, o.rank);
    const { gradient } = context.statistics;
    if (!gradient)
      throw new RankineError(
        'adapters/no-gradient',
        `LoRA-SB starts from the gradient of ${layer.name}, but none was measured.`,
        'Start it through a run, or pass the statistics.',
      );
    const step = firstStep(gradient, o, context);
    const triples = leadingTriples(step, o.rank, context.random('svd'), ITERATIONS);
    const R = diagonal(triples.s.map((x) => x / o.scale));
    return { trainable: { R }, frozen: singularFactors(triples) };
  },
  forward: (x, base, p, o, c) => coreForward(o.scale, x, base, p, o, c),
  weight: (base, p, o) => coreWeight(o.scale, base, p),
  toPeft: (layers, o) => coreToPeft(layers, o, ({ scale }) => scale),
});
