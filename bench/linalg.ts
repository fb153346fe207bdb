/** Times of the decompositions, and NumPy's where RANKINE_PYTHON names a Python that has it. Run with `npx tsx bench/linalg.ts`. */
import { execFileSync } from 'node:child_process';
import { matrix, multiply, qr, random, svd, truncatedSvd } from '../src/linalg/index.ts';

const RUNS = 5;
const cases = [
  {
    name: 'product of 768x3072 with its transpose (3.6 GFLOP)',
    rows: 768,
    cols: 3072,
    run: (a: Parameters<typeof svd>[0]) => multiply(a, a, { transposeB: true }),
    numpy: 'a @ a.T',
  },
  { name: 'svd 768x768', rows: 768, cols: 768, run: svd, numpy: 'np.linalg.svd(a, full_matrices=False)' },
  { name: 'svd 768x3072', rows: 768, cols: 3072, run: svd, numpy: 'np.linalg.svd(a, full_matrices=False)' },
  { name: 'qr 3072x768', rows: 3072, cols: 768, run: qr, numpy: 'np.linalg.qr(a)' },
  {
    name: 'rank 32 of 768x3072',
    rows: 768,
    cols: 3072,
    run: (a: Parameters<typeof svd>[0]) => truncatedSvd(a, 32),
    numpy: 'np.linalg.svd(a, full_matrices=False)',
  },
  {
    name: 'rank 128 of 512x1376',
    rows: 512,
    cols: 1376,
    run: (a: Parameters<typeof svd>[0]) => truncatedSvd(a, 128),
    numpy: 'np.linalg.svd(a, full_matrices=False)',
  },
];

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1];
}

function ours(c: (typeof cases)[number], type: 'float32' | 'float64'): number {
  const data = type === 'float32' ? new Float32Array(c.rows * c.cols) : new Float64Array(c.rows * c.cols);
  random(0, 'bench').fillNormal(data);
  const a = matrix(c.rows, c.cols, data);
  c.run(a);
  const times = Array.from({ length: RUNS }, () => {
    const start = performance.now();
    c.run(a);
    return (performance.now() - start) / 1000;
  });
  return median(times);
}

function numpy(python: string, c: (typeof cases)[number], type: string): number {
  const program = `
import time, numpy as np
a = np.random.default_rng(0).standard_normal((${c.rows}, ${c.cols})).astype("${type}")
${c.numpy}
t = []
for _ in range(${RUNS}):
    s = time.perf_counter(); ${c.numpy}; t.append(time.perf_counter() - s)
print(sorted(t)[${RUNS >> 1}])`;
  return Number(execFileSync(python, ['-c', program], { encoding: 'utf8' }));
}

const python = process.env.RANKINE_PYTHON;
for (const c of cases)
  for (const type of ['float32', 'float64'] as const) {
    const reference = python ? `, NumPy ${numpy(python, c, type).toFixed(3)} s` : '';
    console.log(`${c.name} ${type}: ${ours(c, type).toFixed(3)} s${reference}`);
  }
