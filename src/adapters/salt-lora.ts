import { RankineError } from '../errors.ts';
import type { PeftAdapter } from '../formats/peft.ts';
import { type NDArray, zeros } from '../graph/index.ts';
import { multiply, transpose } from '../linalg/index.ts';
import { type Product, productsToPeft } from './lora-peft.ts';
import type { SaltOptions } from './salt-options.ts';
import type { Arrays, ExportedFactors } from './weight-form.ts';

/**
 * SALT as a LORA of rank t + ρ: B = [U₁ diag(δ), U₂ X], A = [V₁; Y V₂]. Exact as long as nothing of the core is cut.
 *
 * @throws RankineError `adapters/no-lora` naming the layer whose core is cut
 */
export function saltToLora(layers: readonly ExportedFactors<SaltOptions>[], o: SaltOptions): PeftAdapter {
  return productsToPeft(layers.map(product), { ...o, dropout: 0 });
}

function product(layer: ExportedFactors<SaltOptions>): Product {
  const { arrays, options, spec } = layer;
  if (options.relu !== 'none' && isCut(arrays, options)) throw noLora(spec.name);
  const [m, ...rest] = weightShape(arrays);
  const n = rest.reduce((a, b) => a * b, 1);
  const [t, q] = [arrays.S1?.data.length ?? 0, arrays.S2?.data.length ?? 0];
  const rho = arrays.X ? arrays.X.shape[1] : 0;
  const [A, B] = [zeros([t + rho, n]), zeros([m, t + rho])];
  if (t > 0) {
    (A.data as Float32Array).set(arrays.V1.data as Float32Array);
    for (let i = 0; i < m; i++)
      for (let k = 0; k < t; k++)
        B.data[i * (t + rho) + k] = Number(arrays.U1.data[i * t + k]) * change(arrays, k);
  }
  if (rho > 0) {
    (A.data as Float32Array).set(matmul(arrays.Y, arrays.V2, rho, q, n), t * n);
    const left = matmul(arrays.U2, arrays.X, m, q, rho);
    for (let i = 0; i < m; i++)
      for (let k = 0; k < rho; k++) B.data[i * (t + rho) + t + k] = left[i * rho + k];
  }
  if (spec.kind === 'embedding') return { layer, A: transposed(B), B: transposed(A) };
  if (spec.kind === 'conv2d')
    return { layer, A: { ...A, shape: [t + rho, ...rest] }, B: { ...B, shape: [m, t + rho, 1, 1] } };
  return { layer, A, B };
}

function weightShape({ U1, U2, V1, V2 }: Arrays): number[] {
  return [(U1 ?? U2).shape[0], ...(V1 ?? V2).shape.slice(1)];
}

/** δ_k = a_k S_k + c_k − S_k with a = 1 + stretch. */
function change({ stretch, shift, S1 }: Arrays, k: number): number {
  return Number(stretch.data[k]) * Number(S1.data[k]) + Number(shift.data[k]);
}

/** Whether an entry of the core that the ReLU sees is negative. */
function isCut(arrays: Arrays, { relu }: SaltOptions): boolean {
  const { S1, S2, X, Y } = arrays;
  for (let k = 0; k < (S1?.data.length ?? 0); k++)
    if (Number(S1.data[k]) + change(arrays, k) < 0) return true;
  if (!X) return false;
  const [q, rho] = X.shape;
  const mixed = matmul(X, Y, q, rho, q);
  return mixed.some((v, at) => {
    const [i, j] = [Math.floor(at / q), at % q];
    if (i === j) return v + Number(S2.data[i]) < 0;
    return relu === 'all' && v < 0;
  });
}

function matmul(a: NDArray, b: NDArray, m: number, k: number, n: number): Float32Array {
  return multiply(
    { rows: m, cols: k, data: a.data as Float32Array },
    { rows: k, cols: n, data: b.data as Float32Array },
  ).data;
}

function transposed(a: NDArray): NDArray {
  const [rows, cols] = a.shape;
  return { ...a, shape: [cols, rows], data: transpose({ rows, cols, data: a.data as Float32Array }).data };
}

function noLora(layer: string): RankineError {
  return new RankineError(
    'adapters/no-lora',
    `SALT's core of ${layer} is cut by its ReLU: its change is no product of low rank.`,
    "Use the run's merged model. Training with relu none keeps a LORA exact.",
  );
}
