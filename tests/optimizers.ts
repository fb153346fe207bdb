import type { Engine } from '../src/engine/index.ts';
import { array, type NDArray, zeros } from '../src/graph/index.ts';
import { type Matrix, matrix, random } from '../src/linalg/index.ts';
import { dynamicCodes } from '../src/optimizers/eight-bit.ts';
import type { OptimizerMethod, ParameterInfo } from '../src/optimizers/index.ts';
import { createUpdates, type Updates } from '../src/training/updates.ts';

/** An optimizer at work on a few small tensors, through the very code that a run uses. */
export interface Rehearsal {
  readonly parameters: readonly ParameterInfo[];
  readonly arrays: ReadonlyMap<string, NDArray>;
  readonly updates: Updates;
  /** One step: gradients by parameter, t from 1. */
  step(gradients: ReadonlyMap<string, NDArray>, rate: number, step: number, clip?: number): Promise<void>;
}

/** Options are parsed as a recipe's are, so that defaults are there. */
export function rehearse(
  engine: Engine,
  method: OptimizerMethod,
  options: Record<string, unknown>,
  weights: readonly (readonly [ParameterInfo, NDArray])[],
  seed = 1,
): Rehearsal {
  const trainables = weights.map(([info, w]) => ({ info, array: { ...w, data: w.data.slice() } }));
  const updates = createUpdates(engine, method, method.options.parse(options), trainables, seed);
  return {
    parameters: trainables.map((t) => t.info),
    arrays: new Map(trainables.map((t) => [t.info.name, t.array])),
    updates,
    async step(gradients, rate, step, clip = 1) {
      for (const rule of updates.rules)
        await updates.apply(
          rule,
          rule.parameters.map((p) => gradients.get(p.name)!),
          { rate, step, clip },
        );
    },
  };
}

/** Standard normal numbers times `scale`. */
export function normal(shape: readonly number[], stream: string, counter = 0, scale = 1): NDArray {
  const out = zeros(shape);
  random(5, stream).fillNormal(out.data as Float32Array, counter);
  return array(
    Array.from(numbers(out), (x) => x * scale),
    shape,
  );
}

/** The elements as plain numbers. */
export function numbers(a: NDArray): number[] {
  return Array.from(a.data as ArrayLike<number | bigint>, Number);
}

/** A matrix of a block's layer. */
export function blockMatrix(name: string, out: number, columns: number, block = 0): ParameterInfo {
  return {
    name: `${name}.weight`,
    shape: [out, columns],
    role: 'matrix',
    layer: { name, kind: 'linear', out, in: columns, block },
  };
}

/** Largest absolute difference. */
export function gap(a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): number {
  let most = a.length === b.length ? 0 : Number.POSITIVE_INFINITY;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(Number(a[i]) - Number(b[i])));
  return most;
}

export function asMatrix(a: NDArray): Matrix<Float64Array> {
  return matrix(a.shape[0], a.shape[1], Float64Array.from(numbers(a)));
}

export function minus(a: Matrix, b: Matrix): Matrix<Float64Array> {
  return matrix(
    a.rows,
    a.cols,
    Float64Array.from(a.data, (x, i) => x - b.data[i]),
  );
}

/** ‖a‖_F². */
export function squared(a: Matrix): number {
  return Array.from(a.data, (x) => x * x).reduce((s, x) => s + x, 0);
}

export function turned(a: Matrix): Matrix<Float64Array> {
  const at = (i: number) => a.data[(i % a.rows) * a.cols + Math.floor(i / a.rows)];
  return matrix(
    a.cols,
    a.rows,
    Float64Array.from({ length: a.data.length }, (_, i) => at(i)),
  );
}

/** A moment as the blocks of 256 nearest codes would hold it. */
export function rounded(values: Float64Array, signed: boolean): Float64Array {
  const codes = dynamicCodes(signed);
  const out = new Float64Array(values.length);
  for (let at = 0; at < values.length; at += 256) {
    const block = values.subarray(at, at + 256);
    const most = Math.max(...block.map(Math.abs));
    block.forEach((v, i) => {
      const x = most > 0 ? v / most : 0;
      out[at + i] = most * codes.reduce((best, c) => (Math.abs(c - x) < Math.abs(best - x) ? c : best));
    });
  }
  return out;
}
