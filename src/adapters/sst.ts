import {
  add,
  detach,
  l2Normalize,
  matmul,
  mul,
  type NDArray,
  reshape,
  sub,
  type Tensor,
  zeros,
} from '../graph/index.ts';
import { multiply, type Random } from '../linalg/index.ts';
import type { BaseLayer, Context } from '../models/context.ts';
import { interval } from './interval.ts';
import { checkRank } from './options.ts';
import { type SstOptions, sstOptions } from './sst-options.ts';
import {
  decompose,
  drawWithoutReplacement,
  drift,
  samplingProbabilities,
  selected,
  selection,
} from './sst-spectrum.ts';
import { type AdaptedLayer, defineForm, type FormSteps, type StepInfo, type Tensors } from './weight-form.ts';

type Layer = AdaptedLayer<SstOptions>;

/**
 * SST (Zhao et al. 2025, arXiv 2405.15481): W is kept as its singular triples, W = U diag(σ) Vᵀ. All of σ trains, and of
 * the vectors a sample of r, drawn anew every T updates with fresh optimizer state; after K samples W is decomposed
 * again. Vectors take the gradient without σ ("enhanced"), so that weak directions learn as fast as strong ones.
 *
 * Vectors are rows here. Frozen: `left` p×m and `right` p×n, zero in the sampled rows, and the selection S r×p; trained:
 * `U` r×m, `V` r×n and `sigma` p.
 */
export const sst = defineForm<SstOptions>({
  name: 'sst',
  title: 'Sparse Spectral Training and Inference on Euclidean and Hyperbolic Neural Networks',
  paper: 'Zhao et al., ICML 2025, arXiv 2405.15481',
  trainable: 'r (m + n) + min(m, n)',
  whenToChoose: 'Pretraining with the trainable state of a low rank: all directions are reached in turn.',
  options: sstOptions,
  kinds: ['linear'],
  discardsBase: true,
  shapes(layer, { rank }) {
    checkRank('SST', layer, rank);
    const [m, n, p] = [layer.out, layer.in, Math.min(layer.out, layer.in)];
    return {
      trainable: { U: [rank, m], V: [rank, n], sigma: [p] },
      frozen: { left: [p, m], right: [p, n], S: [rank, p] },
    };
  },
  init(layer, o, context) {
    checkRank('SST', layer, o.rank);
    const { left, values, right } = decompose(context.weight);
    const [m, n, p] = [layer.out, layer.in, values.length];
    const array = (data: Float32Array, shape: readonly number[]): NDArray => ({
      dtype: 'float32',
      shape,
      data,
    });
    const frozen = { left: array(left, [p, m]), right: array(right, [p, n]), S: zeros([o.rank, p]) };
    const trainable = { U: zeros([o.rank, m]), V: zeros([o.rank, n]), sigma: array(values, [p]) };
    sample({ spec: layer, options: o, trainable, frozen }, context.random('sample'));
    return { trainable, frozen };
  },
  forward: (x, base, p, o, c) => spectralForward(x, base, p, o, c),
  weight(_, p) {
    const [left, right] = vectors(p);
    return matmul(mul(left, reshape(p.sigma, [-1, 1])), right, { transA: true });
  },
  steps: spectralSteps,
});

/** All vectors, the trained ones in their places. */
function vectors({ left, right, S, U, V }: Tensors): [left: Tensor, right: Tensor] {
  return [add(left, matmul(S, U, { transA: true })), add(right, matmul(S, V, { transA: true }))];
}

/** y = ((x V) ∘ σ) Uᵀ + b, with the gradient of the sampled vectors that the options name. */
function spectralForward(x: Tensor, base: BaseLayer, p: Tensors, o: SstOptions, c: Context): Tensor {
  const given = vectors(p);
  const own = !c.training || o.gradient === 'true';
  const [left, right] = own ? given : given.map(detach);
  const exact = matmul(mul(matmul(x, right, { transB: true }), p.sigma), left);
  const y = base.bias ? add(exact, base.bias) : exact;
  if (own) return y;
  // Zero in value; its gradient is that of Σᵢ ⟨x, vᵢ⟩ uᵢ over the sampled triples, as if every σᵢ were 1.
  const [U, V] = o.gradient === 'tangent' ? [l2Normalize(p.U), l2Normalize(p.V)] : [p.U, p.V];
  const unweighted = matmul(matmul(detach(x), V, { transB: true }), U);
  return add(y, sub(unweighted, detach(unweighted)));
}

/** Draws the rows that train from now on and moves them into the trainable arrays. */
function sample({ trainable, frozen, options }: Layer, random: Random): void {
  const { left, right, S } = frozen;
  const { U, V, sigma } = trainable;
  const values = options.sampling === 'uniform' ? sigma.data.map(() => 1 as never) : sigma.data;
  const indices = drawWithoutReplacement(samplingProbabilities(values as Float32Array), options.rank, random);
  (S.data as Float32Array).set(selection(indices, sigma.shape[0]).data as Float32Array);
  indices.forEach((index, k) => {
    for (const [all, some] of [
      [left, U],
      [right, V],
    ]) {
      row(some, k).set(row(all, index));
      row(all, index).fill(0);
    }
  });
}

function row(a: NDArray, i: number): Float32Array {
  return (a.data as Float32Array).subarray(i * a.shape[1], (i + 1) * a.shape[1]);
}

/** Puts the trained rows back in their places. */
function commit({ trainable, frozen }: Layer): void {
  selected(frozen.S).forEach((index, k) => {
    row(frozen.left, index).set(row(trainable.U, k));
    row(frozen.right, index).set(row(trainable.V, k));
  });
}

/** Decomposes W = U diag(σ) Vᵀ again: the vectors are orthonormal and σ descends; W stays. */
function decomposeAgain({ spec, trainable, frozen }: Layer): void {
  const { left, right } = frozen;
  const { sigma } = trainable;
  const p = sigma.data.length;
  const scaled = new Float32Array(spec.out * p);
  for (let k = 0; k < p; k++) {
    const [u, s] = [row(left, k), Number(sigma.data[k])];
    for (let i = 0; i < spec.out; i++) scaled[i * p + k] = s * u[i];
  }
  const weight = multiply(
    { rows: spec.out, cols: p, data: scaled },
    { rows: p, cols: spec.in, data: right.data as Float32Array },
  );
  const fresh = decompose({ dtype: 'float32', shape: [spec.out, spec.in], data: weight.data });
  (left.data as Float32Array).set(fresh.left);
  (right.data as Float32Array).set(fresh.right);
  (sigma.data as Float32Array).set(fresh.values);
}

function spectralSteps(o: SstOptions): FormSteps<SstOptions> {
  const before = new Map<NDArray, Float32Array>();
  const everyOf = ({ total }: StepInfo<SstOptions>) => interval('SST', o.every, 200, total);
  const warm = (info: StepInfo<SstOptions>) =>
    Math.min(1, ((info.step % everyOf(info)) + 1) / (o.warmup + 1));
  return {
    state: {},
    beforeStep(info) {
      const every = everyOf(info);
      if (info.step > 0 && info.step % every === 0) nextIteration(info, every);
      before.clear();
      if (warm(info) === 1) return;
      for (const { trainable } of info.layers)
        for (const a of [trainable.U, trainable.V]) before.set(a, (a.data as Float32Array).slice());
    },
    afterStep(info) {
      for (const { trainable } of info.layers) {
        for (const a of [trainable.U, trainable.V]) {
          blend(a, before.get(a), warm(info));
          normalizeRows(a);
        }
        const sigma = trainable.sigma.data as Float32Array;
        for (let i = 0; i < sigma.length; i++) sigma[i] = Math.max(0, sigma[i]);
      }
    },
  };
}

function nextIteration(info: StepInfo<SstOptions>, every: number): void {
  let most = 0;
  for (const layer of info.layers) {
    const { rank, iterations } = layer.options;
    commit(layer);
    const [p, m] = layer.frozen.left.shape;
    const round = iterations ?? Math.ceil(p / rank);
    if ((info.step / every) % round === 0) {
      most = Math.max(most, drift(layer.frozen.left.data as Float32Array, m));
      decomposeAgain(layer);
      info.resetOptimizer(layer, 'sigma');
    }
    sample(layer, info.random(`sst/${layer.spec.name}`));
    for (const name of ['U', 'V']) info.resetOptimizer(layer, name);
  }
  if (most > 0) info.report('sst/drift', most);
}

/** Takes only a share of an update: a warm-up of the rate, exact for every rule whose step is proportional to it. */
function blend(a: NDArray, before: Float32Array | undefined, share: number): void {
  if (!before) return;
  const data = a.data as Float32Array;
  for (let i = 0; i < data.length; i++) data[i] = before[i] + share * (data[i] - before[i]);
}

function normalizeRows(a: NDArray): void {
  for (let k = 0; k < a.shape[0]; k++) {
    const values = row(a, k);
    const norm = Math.sqrt(values.reduce((n, v) => n + v * v, 0));
    if (norm > 0) for (let j = 0; j < values.length; j++) values[j] /= norm;
  }
}
