/**
 * Prints how many megabytes one run of a vocabulary loss with its gradients adds to this process at its peak.
 * Argument: rows of logits in a chunk.
 */
import { createEngine } from '../../src/engine/index.ts';
import {
  array,
  gather,
  gradients,
  input,
  linear,
  linearCrossEntropy,
  type NDArray,
  program,
  type Shape,
  sizeOf,
  tanh,
  zeros,
} from '../../src/graph/index.ts';

const [count, width, vocabulary] = [1024, 16, 50_257];
const rows = Number(process.argv[2]);

function waves(shape: Shape): NDArray {
  return {
    dtype: 'float32',
    shape,
    data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i)),
  };
}

const [w, bias, inner] = [
  input('w', [vocabulary, width]),
  input('bias', [vocabulary]),
  input('inner', [width, width]),
];
const [t, m] = [input('t', [count], 'int64'), input('m', [count])];
// A tied head: its gradient leaves together with the table's, and the loss is asked for last.
const h = tanh(linear(gather(w, t), inner));
const loss = linearCrossEntropy(h, w, t, m, { bias, rows });
const [dw, dbias, dinner] = gradients(loss, [w, bias, inner]);
const engine = await createEngine({ threads: 1 });
const { run } = await engine.compile(program({ dinner, dw, dbias, loss }));
const feeds = {
  w: waves(w.shape),
  bias: waves(bias.shape),
  inner: waves(inner.shape),
  t: array(
    Array.from({ length: count }, (_, i) => (i * 37) % vocabulary),
    [count],
    'int64',
  ),
  m: waves([count]),
};
const into = { loss: zeros([]), dw: zeros(w.shape), dbias: zeros(bias.shape), dinner: zeros(inner.shape) };
const before = process.memoryUsage.rss();
await run(feeds, into);
console.log(Math.round((process.resourceUsage().maxRSS * 1024 - before) / 2 ** 20));
