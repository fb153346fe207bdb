import { withGradient } from './differentiate.ts';
import { add, div, exp, log, mul, neg, sub } from './elementwise.ts';
import { gather, scatterAdd } from './index-ops.ts';
import { linear, matmul } from './matmul.ts';
import { after } from './order.ts';
import { max, sum } from './reduce.ts';
import { concat, reshape, slice } from './shape.ts';
import { shapeError, type Tensor } from './tensor.ts';

/** Logits of a chunk, in bytes, and more where these are few rows: each product re-reads the whole head. */
const CHUNK_BYTES = 32 * 2 ** 20;
const FEW_ROWS = 256;
const MOST_BYTES = 2 * CHUNK_BYTES;

/** One chunk of rows: its operands, what its loss needed, and what its gradients are made of. */
interface Chunk {
  x: Tensor;
  ids: Tensor;
  weights: Tensor;
  /** exp(logits − the row's largest) and its row sums. */
  e: Tensor;
  total: Tensor;
  losses: Tensor;
}

/**
 * Σ weights ∘ cross-entropy of the logits h Wᵀ (+ b) without ever holding them all: a few rows at a time, and each
 * chunk's gradients are made from the exponentials that its loss needed, so nothing is computed twice. (Where the
 * gradient of the loss itself depends on the loss, as in its square, all exponentials are held until it is known.)
 *
 * @param h       hidden states [N, d]
 * @param weight  output head [V, d]
 * @param targets int64 [N], any valid id where the weight is 0
 * @param weights float [N], e.g. mask / number of targets
 * @param options `bias` [V]; `rows` in a chunk (default: logits of 32 to 64 MiB)
 */
export function linearCrossEntropy(
  h: Tensor,
  weight: Tensor,
  targets: Tensor,
  weights: Tensor,
  options: { bias?: Tensor; rows?: number } = {},
): Tensor {
  const [count, width] = h.shape;
  const [vocabulary] = weight.shape;
  if (weight.shape[1] !== width) throw shapeError('linearCrossEntropy', [h, weight], 'the widths differ');
  const limit = options.rows ?? chunkRows(vocabulary);
  const { bias } = options;
  const number = Math.ceil(count / Math.min(limit, count));
  const rows = Math.ceil(count / number);
  const chunks = Array.from({ length: number }, (_, i) => {
    const part = (t: Tensor) => slice(t, 0, i * rows, Math.min(count, (i + 1) * rows));
    return chunk(part(h), weight, part(targets), part(weights), bias);
  });
  const loss = chunks.map((c) => sum(mul(c.weights, c.losses))).reduce(add);
  const inputs = bias ? [h, weight, weights, bias] : [h, weight, weights];
  return withGradient(loss, inputs, (g, [needsH, needsWeight, , needsBias]) => {
    const needed = { h: needsH, weight: needsWeight, bias: needsBias };
    const head = headGradients(chunks, weight, g, needed);
    const losses = concat(
      chunks.map((c) => c.losses),
      0,
    );
    return [head.h, head.weight, mul(losses, g), head.bias];
  });
}

function chunkRows(vocabulary: number): number {
  const within = (bytes: number) => Math.max(1, Math.floor(bytes / (4 * vocabulary)));
  return Math.max(within(CHUNK_BYTES), Math.min(FEW_ROWS, within(MOST_BYTES)));
}

function chunk(x: Tensor, weight: Tensor, ids: Tensor, weights: Tensor, bias?: Tensor): Chunk {
  const [n] = x.shape;
  const logits = linear(x, weight, bias);
  const top = max(logits, 1, true);
  const e = exp(sub(logits, top));
  const total = sum(e, 1, true);
  // The target's logit comes from a dot product of its own: picking it from the logits would keep them alive.
  const own = sum(mul(x, gather(weight, ids)), 1);
  const target = bias ? add(own, gather(bias, ids)) : own;
  const losses = sub(add(log(reshape(total, [n])), reshape(top, [n])), target);
  return { x, ids, weights, e, total, losses };
}

interface HeadGradients {
  h?: Tensor;
  weight?: Tensor;
  bias?: Tensor;
}

type Needed = Readonly<Record<keyof HeadGradients, boolean>>;

/**
 * Gradients of all chunks together. A chunk's logits-sized residual serves all its gradients, which leave through
 * different parts of the program: unless one waits for the other, every chunk's residual would be held until the last
 * leaves.
 */
function headGradients(chunks: readonly Chunk[], weight: Tensor, g: Tensor, needed: Needed): HeadGradients {
  const parts = chunks.map((c) => chunkGradients(c, weight, g, needed, chunks.length > 1));
  const each = (key: keyof HeadGradients) => parts.map((p) => p[key]).filter((t) => t !== undefined);
  // The running sum comes second so that it is visited first (see `after`): one summand is held, not all.
  const total = (key: keyof HeadGradients) =>
    needed[key] ? each(key).reduce((sofar, t) => add(t, sofar)) : undefined;
  const all = {
    h: needed.h ? concat(each('h'), 0) : undefined,
    weight: total('weight'),
    bias: total('bias'),
  };
  const last = all.weight ?? all.bias;
  if (!last || chunks.length === 1) return all;
  const wait = (t: Tensor | undefined) => (t === undefined || t === last ? t : after(t, [last]));
  return { h: wait(all.h), weight: all.weight, bias: wait(all.bias) };
}

/** Gradients of one chunk; when chained, the last of them waits for the others. */
function chunkGradients(
  c: Chunk,
  weight: Tensor,
  g: Tensor,
  needed: Needed,
  chained: boolean,
): HeadGradients {
  const [n] = c.x.shape;
  const scale = div(mul(reshape(c.weights, [n, 1]), g), c.total);
  const residual = scatterAdd(c.e, reshape(c.ids, [n, 1]), neg(c.total), 1);
  const done: Tensor[] = [];
  const finish = (t: Tensor) => {
    if (chained) done.push(t);
    return t;
  };
  const columns = (right: Tensor) => matmul(residual, after(right, done), { transA: true });
  const h = needed.h ? finish(mul(matmul(residual, weight), scale)) : undefined;
  const bias = needed.bias ? finish(reshape(columns(scale), [weight.shape[0]])) : undefined;
  return { h, bias, weight: needed.weight ? columns(mul(c.x, scale)) : undefined };
}
