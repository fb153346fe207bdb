import { add, type NDArray, zeros } from '../graph/index.ts';
import type { Random } from '../linalg/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { kaimingUniform } from './lora.ts';
import { checkRank } from './options.ts';
import { restartSteps } from './restart.ts';
import { type SltrainOptions, sltrainOptions, supportSize } from './sltrain-options.ts';
import { drawSupport } from './sltrain-support.ts';
import { sltrainProduct, sltrainWeight } from './sltrain-weight.ts';
import { defineForm, type FactorShapes, type Factors } from './weight-form.ts';

/** Without any position (a small layer, density 0) there are no values and no support. */
function sltrainShapes(layer: LayerSpec, o: SltrainOptions): FactorShapes {
  checkRank('SLTrain', layer, o.rank);
  const k = supportSize(layer, o.density);
  return {
    trainable: {
      A: [o.rank, layer.in],
      B: [layer.out, o.rank],
      ...(k > 0 && { values: [k] }),
      ...(o.trainScale && { scale: [1] }),
    },
    frozen: k > 0 ? { support: [k] } : {},
    dtypes: { support: 'int32' },
  };
}

/** Uniform between −1/√n and 1/√n. */
function drawValues(count: number, { in: n }: LayerSpec, random: Random): NDArray {
  const data = new Float32Array(count);
  random.fillUniform(data);
  return { dtype: 'float32', shape: [count], data: data.map((u) => (2 * u - 1) / Math.sqrt(n)) };
}

/**
 * SLTrain (Han et al. 2024, arXiv 2406.02214): W = s B A + S without W₀, S sparse on positions that are drawn once; the
 * factors and the values of S train. B starts at zero, so that the network starts sparse.
 *
 * `support` holds the positions i n + j of the values, ascending.
 */
export const sltrain = defineForm<SltrainOptions>({
  name: 'sltrain',
  title: 'SLTrain: a sparse plus low-rank approach for parameter and memory efficient pretraining',
  paper: 'Han et al., NeurIPS 2024, arXiv 2406.02214',
  trainable: 'r (m + n) + ⌊δ m n⌋',
  whenToChoose:
    'Pretraining with fewer weights to hold, not only less state; a sparse part reaches beyond rank r.',
  options: sltrainOptions,
  kinds: ['linear'],
  startsAtBase: false,
  discardsBase: true,
  shapes: sltrainShapes,
  init(layer, o, context): Factors {
    const { trainable, frozen } = sltrainShapes(layer, o);
    const { values, scale } = trainable;
    const start = {
      A: kaimingUniform([o.rank, layer.in], context.random('A')),
      B: zeros(trainable.B),
      ...(values && { values: drawValues(values[0], layer, context.random('values')) }),
      ...(scale && { scale: { dtype: 'float32' as const, shape: scale, data: Float32Array.of(1) } }),
    };
    if (!values) return { trainable: start, frozen: {} };
    const data = drawSupport(layer.out * layer.in, values[0], context.random('support').cursor());
    return { trainable: start, frozen: { support: { dtype: 'int32', shape: frozen.support, data } } };
  },
  forward(x, base, p, o) {
    const y = sltrainProduct(x, p, o, base.spec);
    return base.bias ? add(y, base.bias) : y;
  },
  weight: (_, p, o, layer) => sltrainWeight(p, o, layer),
  steps: (o) => restartSteps('SLTrain', o),
});
