/**
 * Where RandLoRA's full rank overtakes LoRA's low one: 64×64 targets with singular values i^−p between random bases,
 * fitted by RandLoRA r=4 (1,088 numbers, alternating least squares) and by the best matrix of rank 8 (1,024 numbers).
 * Writes `spectrum.json` and `spectrum.md` beside RandLoRA's study.
 *
 *     npx tsx experiments/randlora-spectrum.ts
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AdapterOptions, forms } from '../src/adapters/index.ts';
import { zeros } from '../src/graph/index.ts';
import { matrix, multiply, qr, random, transpose } from '../src/linalg/index.ts';
import { squaredErrorOfFit } from './randlora-fit.ts';

const OUT = 'experiments/results/randlora';
const [SIZE, RANK, LOW] = [64, 4, 8];
const SEEDS = [1, 2, 3];
const EXPONENTS = Array.from({ length: 11 }, (_, i) => i / 20);

const randlora = forms.find((form) => form.name === 'randlora')!;

async function bases(seed: number) {
  const options = randlora.options.parse({ rank: RANK, seed }) as AdapterOptions;
  const layer = { name: 'target', kind: 'linear', out: SIZE, in: SIZE } as const;
  const { frozen } = await randlora.init(layer, options, {
    weight: zeros([SIZE, SIZE]),
    statistics: {},
    firstRate: 0,
    random: (purpose) => random(seed, purpose),
  });
  return { A: frozen.A.data as Float32Array, B: frozen.B.data as Float32Array, r: RANK };
}

function normals(seed: number, stream: string, count: number): Float64Array {
  const out = new Float64Array(count);
  random(seed, `spectrum/${stream}`).fillNormal(out);
  return out;
}

const orthogonal = (seed: number, stream: string) =>
  qr(matrix(SIZE, SIZE, normals(seed, stream, SIZE * SIZE))).q;

/** Relative squared error that RandLoRA leaves. */
async function randloraError(values: Float64Array, seed: number): Promise<number> {
  const [u, v] = [orthogonal(seed, 'u'), orthogonal(seed, 'v')];
  const scaled = { ...u, data: u.data.map((c, i) => c * values[i % SIZE]) };
  const target = Float64Array.from(multiply(scaled, transpose(v)).data);
  const start = normals(seed, 'gamma', (SIZE / RANK) * SIZE);
  return squaredErrorOfFit(target, await bases(seed), start) / squares(values);
}

const squares = (values: Float64Array) => values.reduce((t, s) => t + s * s, 0);
const mean = (list: readonly number[]) => list.reduce((a, b) => a + b, 0) / list.length;

const rows: { p: number; randlora: number; spread: number; lora: number }[] = [];
for (const p of EXPONENTS) {
  const values = Float64Array.from({ length: SIZE }, (_, i) => (i + 1) ** -p);
  const errors: number[] = [];
  for (const seed of SEEDS) errors.push(await randloraError(values, seed));
  const lora = squares(values.subarray(LOW)) / squares(values);
  rows.push({ p, randlora: mean(errors), spread: Math.max(...errors) - Math.min(...errors), lora });
}

/** Linear between the two exponents around it. */
const after = rows.findIndex((row) => row.lora < row.randlora);
const gap = (i: number) => rows[i].lora - rows[i].randlora;
const share = gap(after - 1) / (gap(after - 1) - gap(after));
const crossing = rows[after - 1].p + share * (rows[after].p - rows[after - 1].p);

const table = [
  `| p | ${rows.map((r) => r.p).join(' | ')} |`,
  `| --- | ${rows.map(() => '---').join(' | ')} |`,
  `| RandLoRA r=${RANK}, 1,088 numbers | ${rows.map((r) => r.randlora.toFixed(3)).join(' | ')} |`,
  `| best matrix of rank ${LOW}, 1,024 numbers | ${rows.map((r) => r.lora.toFixed(3)).join(' | ')} |`,
  '',
  `Relative squared error on ${SIZE}×${SIZE} targets with singular values i^−p, mean of ${SEEDS.length} draws (they differ by ${Math.max(...rows.map((r) => r.spread)).toFixed(3)} at most). LoRA leads from p = ${crossing.toFixed(2)} on.`,
].join('\n');
mkdirSync(OUT, { recursive: true });
writeFileSync(join(OUT, 'spectrum.json'), `${JSON.stringify({ crossing, rows }, null, 2)}\n`);
writeFileSync(join(OUT, 'spectrum.md'), `${table}\n`);
console.log(table);
