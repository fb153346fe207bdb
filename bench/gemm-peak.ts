/** Measures the largest rate of a float32 matrix product, 1536 cubed, here and prints one JSON line. */
import { createEngine } from '../src/engine/index.ts';
import { array, input, matmul, program } from '../src/graph/index.ts';

const N = 1536;
const ROUNDS = 12;

const engine = await createEngine({ threads: Number(process.argv[2] ?? 2) });
const product = await engine.compile(program({ y: matmul(input('a', [N, N]), input('b', [N, N])) }));
const [a, b] = [1, 2].map((k) =>
  array(
    Float32Array.from({ length: N * N }, (_, i) => Math.sin(i * k)),
    [N, N],
  ),
);
let best = Number.POSITIVE_INFINITY;
for (let i = 0; i < ROUNDS; i++) {
  const start = performance.now();
  await product.run({ a, b });
  best = Math.min(best, performance.now() - start);
}
console.log(JSON.stringify({ gigaflops: (2 * N ** 3) / best / 1e6 }));
await engine.dispose();
