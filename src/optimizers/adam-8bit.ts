import { z } from 'zod';
import { sizeOf } from '../graph/index.ts';
import { type AdamwOptions, adamwOptions, adamwPiece, decayOf } from './adamw.ts';
import { inEightBits } from './eight-bit.ts';
import { adam8OnHost } from './eight-bit-host.ts';
import { defineOptimizer, type ParameterInfo, type UpdateRule } from './optimizer.ts';
import { byRate, byRateThenDecay, chain, pieceRule, scaleByAdam } from './pieces.ts';

export const adam8bitOptions = adamwOptions.omit({ form: true }).extend({
  epsilon: z.number().positive().default(1e-8).describe('guards the division'),
  smallest: z.number().int().min(1).default(4096).describe('tensors with fewer elements keep 32-bit state'),
  embeddings: z
    .enum(['32-bit', '8-bit'])
    .default('32-bit')
    .describe('state of embeddings, whose rare rows suffer most from few bits'),
});

export type Adam8bitOptions = z.infer<typeof adam8bitOptions>;

/** Whether a tensor is large enough for 8-bit state, and no embedding that is to keep 32 bits. */
export function isNarrow(
  { role, shape }: Pick<ParameterInfo, 'role' | 'shape'>,
  o: Pick<Adam8bitOptions, 'smallest' | 'embeddings'>,
): boolean {
  return sizeOf(shape) >= o.smallest && (role !== 'embedding' || o.embeddings === '8-bit');
}

/**
 * Says which tensors keep 32-bit state.
 * @param size of a tensor's moments
 */
export function wideNotices(
  method: string,
  parameters: readonly ParameterInfo[],
  o: Pick<Adam8bitOptions, 'smallest' | 'embeddings'>,
  size: (p: ParameterInfo) => number = (p) => sizeOf(p.shape),
): string[] {
  const small = parameters.filter((p) => size(p) < o.smallest);
  const embeddings = parameters.filter(
    (p) => p.role === 'embedding' && !isNarrow(p, o) && !small.includes(p),
  );
  const named = (list: readonly ParameterInfo[]) =>
    `${list.length} of ${parameters.length} tensors (${list[0].name}${list.length > 1 ? ', …' : ''})`;
  return [
    ...(small.length > 0
      ? [`${method}: moments of fewer than ${o.smallest} elements keep 32 bits: ${named(small)}.`]
      : []),
    ...(embeddings.length > 0
      ? [`${method}: moments of embeddings keep 32 bits: ${named(embeddings)}.`]
      : []),
  ];
}

/** AdamW of one parameter on 8-bit moments. */
export function narrowRule(parameter: ParameterInfo, o: AdamwOptions & { epsilon: number }): UpdateRule {
  const decay = decayOf(parameter, o.weightDecay);
  const adam = inEightBits(scaleByAdam(o), { m: true, v: false });
  const rate = o.form === 'torch' ? byRate(decay) : byRateThenDecay(decay);
  return {
    ...pieceRule(parameter, chain(adam, rate)),
    host: { update: (inputs) => adam8OnHost(inputs, { ...o, decay }) },
  };
}

/** AdamW in the torch form on 8-bit moments, on 32-bit ones where the tensor is small. */
export function adam8Rule(parameter: ParameterInfo, options: Adam8bitOptions): UpdateRule {
  const o = { ...options, form: 'torch' } as const;
  return isNarrow(parameter, o) ? narrowRule(parameter, o) : pieceRule(parameter, adamwPiece(o, parameter));
}

/** AdamW with both moments in 8 bits, block by block (Dettmers et al. 2022, arXiv 2110.02861). */
export const adam8bit = defineOptimizer({
  name: 'adam-8bit',
  title: '8-bit Optimizers via Block-wise Quantization',
  paper: 'Dettmers et al., ICLR 2022, arXiv 2110.02861',
  whenToChoose: 'AdamW’s steps at a quarter of its state.',
  stateFormula: '2 m n bytes + m n / 32',
  options: adam8bitOptions,
  notices: (parameters, o) => wideNotices('adam-8bit', parameters, o),
  rules: (parameters, o) => parameters.map((p) => adam8Rule(p, o)),
});
