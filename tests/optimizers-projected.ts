import { readFileSync } from 'node:fs';
import type { Engine } from '../src/engine/index.ts';
import { array } from '../src/graph/index.ts';
import type { OptimizerMethod } from '../src/optimizers/index.ts';
import { blockMatrix, normal, numbers, type Rehearsal, rehearse } from './optimizers.ts';

interface Recorded {
  readonly options: Record<string, unknown>;
  /** At the end, by matrix. */
  readonly weights: Record<string, number[]>;
}

/** What scripts/reference/optimizers/projected.py recorded of the packages galore-torch and fira. */
export const recorded: {
  readonly shapes: Record<string, [number, number]>;
  readonly start: Record<string, number[]>;
  readonly gradients: Record<string, number[][]>;
  readonly rates: number[];
  readonly galore: readonly Recorded[];
  readonly fira: readonly Recorded[];
} = JSON.parse(readFileSync(new URL('golden/optimizers/projected.json', import.meta.url), 'utf8'));

/** The recorded steps but one, taken by a method of ours: its weights at the end. */
export async function recordedRun(
  engine: Engine,
  method: OptimizerMethod,
  options: Record<string, unknown>,
  leftOut?: number,
): Promise<ReadonlyMap<string, number[]>> {
  const { shapes, start, gradients, rates } = recorded;
  const infos = Object.keys(shapes).map((name) => ({ ...blockMatrix(name, ...shapes[name]), name }));
  const weights = infos.map((i) => [i, array(start[i.name], i.shape)] as const);
  const run = rehearse(engine, method, options, weights);
  let t = 0;
  for (const [row, rate] of rates.entries()) {
    if (row === leftOut) continue;
    const now = new Map(infos.map((i) => [i.name, array(gradients[i.name][row], i.shape)]));
    await run.step(now, rate, ++t);
  }
  return new Map(infos.map(({ name }) => [name, numbers(run.arrays.get(name)!)]));
}

/** A tall and a wide matrix, and what they start from. */
export const tall = blockMatrix('tall', 6, 4);
export const wide = blockMatrix('wide', 4, 6);
export const startOf = (info: typeof tall) => [info, normal(info.shape, `start/${info.name}`)] as const;

/** Steps `from` … `to` with drawn gradients times `scale`. */
export async function drawnSteps(run: Rehearsal, from: number, to: number, scale = 1): Promise<void> {
  for (let t = from; t <= to; t++) {
    const drawn = run.parameters.map((p) => [p.name, normal(p.shape, `g/${p.name}`, t, scale)] as const);
    await run.step(new Map(drawn), 0.05, t);
  }
}
