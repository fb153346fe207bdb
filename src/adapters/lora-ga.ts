import { z } from 'zod';
import { RankineError } from '../errors.ts';
import { add, type NDArray, zeros } from '../graph/index.ts';
import { awayToPeft, startAway } from './away-start.ts';
import { leadingTriples } from './leading-triples.ts';
import { loraDelta, loraForward, loraParts, loraWithStart } from './lora.ts';
import { checkRank, type LoraOptions, loraOptions } from './options.ts';
import { defineForm, type Factors, type InitContext } from './weight-form.ts';

const loraGaOptions = loraOptions.extend({
  gamma: z.number().positive().default(16).describe('stability: factors are scaled by m^¼ / √gamma'),
  batches: z.int().positive().default(8).describe('batches of the gradient estimate'),
});

type LoraGaOptions = z.infer<typeof loraGaOptions>;

/** s = α/√r. */
function scaleOf(o: LoraOptions): number {
  return o.alpha! / Math.sqrt(o.rank);
}

/** Right vectors 1 … r of the gradient as A, left vectors r + 1 … 2r as B. */
function gradientFactors(gradient: NDArray, o: LoraGaOptions, context: InitContext) {
  const [m, n] = gradient.shape;
  const r = o.rank;
  const { u, vt } = leadingTriples(gradient, 2 * r, context.random('svd'));
  const scale = m ** 0.25 / Math.sqrt(o.gamma);
  const [A, B] = [zeros([r, n]), zeros([m, r])];
  for (let i = 0; i < r * n; i++) A.data[i] = scale * vt.data[i];
  for (let i = 0; i < m; i++)
    for (let k = 0; k < r; k++) B.data[i * r + k] = scale * u.data[i * 2 * r + r + k];
  return { A, B };
}

/**
 * LoRA-GA (Wang et al. 2024, arXiv 2407.05000): LoRA whose factors start from the singular vectors of W₀'s gradient, so
 * that the first update goes where full fine-tuning would; the function is unchanged at the start.
 */
export const loraGa = defineForm<LoraGaOptions>({
  ...loraParts,
  name: 'lora-ga',
  title: 'LoRA-GA: Low-Rank Adaptation with Gradient Approximation',
  paper: 'Wang et al., NeurIPS 2024, arXiv 2407.05000',
  options: loraGaOptions,
  kinds: ['linear'],
  whenToChoose:
    'Convergence near full fine-tuning at LoRA’s cost, for one gradient pass before the first update.',
  needs: (o) => ({ gradient: { batches: o.batches } }),
  shapes(layer, o) {
    checkRank('LoRA-GA', layer, 2 * o.rank);
    return loraWithStart(layer, o);
  },
  init(layer, o, context): Factors {
    checkRank('LoRA-GA', layer, 2 * o.rank);
    const { gradient } = context.statistics;
    if (!gradient) throw noGradient(layer.name);
    const { A, B } = gradientFactors(gradient, o, context);
    return startAway(context.weight, A, B, scaleOf(o));
  },
  productScale: scaleOf,
  forward: (x, base, p, o, c) => loraForward(scaleOf(o), x, base, p, o, c),
  weight: (base, p, o, layer) => add(base, loraDelta(scaleOf(o), p, layer)),
  toPeft: (layers, o) => awayToPeft(layers, o, scaleOf),
});

function noGradient(layer: string): RankineError {
  return new RankineError(
    'adapters/no-gradient',
    `LoRA-GA starts from the gradient of ${layer}, but none was measured.`,
    'Start it through a run, or pass the statistics.',
  );
}
