import { add, zeros } from '../graph/index.ts';
import { awayToPeft, startAway } from './away-start.ts';
import { leadingTriples } from './leading-triples.ts';
import { loraDelta, loraForward, loraParts, loraScale, loraWithStart } from './lora.ts';
import { checkRank, type LoraOptions } from './options.ts';
import { defineForm } from './weight-form.ts';

/**
 * PiSSA (Meng et al. 2024, arXiv 2404.02948): LoRA whose factors start as the principal singular triples of W₀, with
 * the residual frozen. The function is unchanged at the start.
 */
export const pissa = defineForm<LoraOptions>({
  ...loraParts,
  name: 'pissa',
  title: 'PiSSA: Principal Singular Values and Singular Vectors Adaptation',
  paper: 'Meng et al., NeurIPS 2024, arXiv 2404.02948',
  kinds: ['linear'],
  whenToChoose: 'Faster convergence than LoRA at one rank, for an SVD before the first step.',
  shapes: loraWithStart,
  init(layer, o, context) {
    checkRank('PiSSA', layer, o.rank);
    const [m, n, r] = [layer.out, layer.in, o.rank];
    const { u, s, vt } = leadingTriples(context.weight, r, context.random('svd'));
    const scale = loraScale(o);
    const [A, B] = [zeros([r, n]), zeros([m, r])];
    for (let k = 0; k < r; k++) {
      const root = Math.sqrt(s[k] / scale);
      for (let j = 0; j < n; j++) A.data[k * n + j] = root * vt.data[k * n + j];
      for (let i = 0; i < m; i++) B.data[i * r + k] = root * u.data[i * r + k];
    }
    return startAway(context.weight, A, B, scale);
  },
  productScale: loraScale,
  forward: (x, base, p, o, c) => loraForward(loraScale(o), x, base, p, o, c),
  weight: (base, p, o, layer) => add(base, loraDelta(loraScale(o), p, layer)),
  toPeft: (layers, o) => awayToPeft(layers, o, loraScale),
});
