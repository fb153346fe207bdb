import { z } from 'zod';
import { add, type NDArray } from '../graph/index.ts';
import { multiply } from '../linalg/index.ts';
import { interval } from './interval.ts';
import { kaimingUniform, loraDelta, loraForward, loraParts, loraScale } from './lora.ts';
import { loraOptions } from './options.ts';
import {
  type AdaptedLayer,
  defineForm,
  type FormSteps,
  type PartialReset,
  type StepInfo,
} from './weight-form.ts';

const reloraOptions = loraOptions.extend({
  rank: z.int().positive().default(128).describe('rank of each cycle'),
  every: z
    .int()
    .positive()
    .optional()
    .describe('updates between merges (default: 1000, in shorter runs a quarter of the run)'),
  warmup: z.int().min(0).default(50).describe('updates over which the rate rises again after a merge'),
  reset: z
    .enum(['all', 'magnitude', 'random'])
    .default('all')
    .describe('of the moments at a merge: all and their count of updates, or the smallest entries, or any'),
  pruned: z
    .number()
    .min(0)
    .max(1)
    .default(0.99)
    .describe('share of the moments that the resets magnitude and random zero'),
});

type ReloraOptions = z.infer<typeof reloraOptions>;

/** s B A of a layer. */
function product({ trainable, options }: AdaptedLayer<ReloraOptions>): NDArray {
  const { A, B } = trainable;
  const s = loraScale(options);
  const { data } = multiply(
    { rows: B.shape[0], cols: B.shape[1], data: B.data as Float32Array },
    { rows: A.shape[0], cols: A.shape[1], data: A.data as Float32Array },
  );
  return { dtype: 'float32', shape: [B.shape[0], A.shape[1]], data: data.map((v) => s * v) };
}

/** W₀ += s B A; A drawn anew, B zero: the function stays, the next change starts in other directions. */
function restart(info: StepInfo<ReloraOptions>, part: PartialReset | undefined): void {
  for (const layer of info.layers) {
    const { A, B } = layer.trainable;
    info.addToBase(layer, product(layer));
    const [r, n] = A.shape;
    const fresh = kaimingUniform([r, n], info.random(`relora/${layer.spec.name}`));
    (A.data as Float32Array).set(fresh.data as Float32Array);
    B.data.fill(0 as never);
    for (const name of ['A', 'B']) info.resetOptimizer(layer, name, part);
  }
}

/** Merges every `every` updates; the moments start again, or what pruning leaves of them goes on; the rate rises anew. */
function cycles(o: ReloraOptions): FormSteps<ReloraOptions> {
  const everyOf = ({ total }: { total: number }) => interval('ReLoRA', o.every, 1000, total);
  const part = o.reset === 'all' ? undefined : { prune: { share: o.pruned, by: o.reset } };
  return {
    state: {},
    beforeStep(info) {
      const every = everyOf(info);
      if (info.step > 0 && info.step % every === 0) restart(info, part);
      info.report('relora/merges', Math.floor(info.step / every));
    },
    rate(request) {
      const { step, scheduled, factor } = request;
      const every = everyOf(request);
      // The first cycle has the run's own warm-up.
      const share = !factor || step < every ? 1 : Math.min(1, ((step % every) + 1) / (o.warmup + 1));
      return share * scheduled(step);
    },
  };
}

/**
 * ReLoRA (Lialin et al. 2024, arXiv 2307.05695): LoRA that is merged into W₀ and started again every K updates, so that
 * the whole change reaches rank k r after k cycles.
 */
export const relora = defineForm<ReloraOptions>({
  ...loraParts,
  name: 'relora',
  title: 'ReLoRA: High-Rank Training Through Low-Rank Updates',
  paper: 'Lialin et al., ICLR 2024, arXiv 2307.05695',
  options: reloraOptions,
  kinds: ['linear'],
  whenToChoose: 'Pretraining with the optimizer state of a low rank, after a short start in full.',
  productScale: loraScale,
  forward: (x, base, p, o, c) => loraForward(loraScale(o), x, base, p, o, c),
  weight: (base, p, o, layer) => add(base, loraDelta(loraScale(o), p, layer)),
  steps: cycles,
});
