import { zeros } from '../graph/index.ts';
import { coreForward, coreShapes, coreToPeft, coreWeight, singularFactors } from './core-form.ts';
import { leadingTriples } from './leading-triples.ts';
import { loraScale } from './lora.ts';
import { checkRank, type LoraOptions, loraOptions } from './options.ts';
import { defineForm } from './weight-form.ts';

const STANDARD_DEVIATION = 1e-5;

/**
 * LoRA-XS (Bałazy et al. 2024, arXiv 2405.17604), as its reference code: W₀ + (α/r) B R A with B = U_r and A = S_r V_rᵀ
 * of W₀ frozen; only R is trained, from noise that is all but zero.
 */
export const loraXs = defineForm<LoraOptions>({
  name: 'lora-xs',
  title: 'LoRA-XS: Low-Rank Adaptation with Extremely Small Number of Parameters',
  paper: 'Bałazy et al., 2024, arXiv 2405.17604',
  trainable: 'r²',
  whenToChoose: 'The smallest adapters, where no gradient can be measured beforehand; else LoRA-SB.',
  options: loraOptions,
  kinds: ['linear'],
  startsAtBase: false,
  shapes: (layer, o) => coreShapes('LoRA-XS', layer, o),
  init(layer, o, context) {
    checkRank('LoRA-XS', layer, o.rank);
    const triples = leadingTriples(context.weight, o.rank, context.random('svd'));
    const { A, B } = singularFactors(triples);
    const scaled = (A.data as Float32Array).map((x, i) => x * triples.s[Math.floor(i / layer.in)]);
    const R = zeros([o.rank, o.rank]);
    const noise = R.data as Float32Array;
    context.random('R').fillNormal(noise);
    for (let i = 0; i < noise.length; i++) noise[i] *= STANDARD_DEVIATION;
    return { trainable: { R }, frozen: { A: { ...A, data: scaled }, B } };
  },
  forward: (x, base, p, o, c) => coreForward(loraScale(o), x, base, p, o, c),
  weight: (base, p, o) => coreWeight(loraScale(o), base, p),
  toPeft: (layers, o) => coreToPeft(layers, o, loraScale),
});
