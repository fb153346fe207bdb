import { readFileSync } from 'node:fs';
import type { Engine } from '../src/engine/index.ts';
import { array } from '../src/graph/index.ts';
import type { OptimizerMethod, ParameterInfo } from '../src/optimizers/index.ts';
import { numbers, rehearse } from './optimizers.ts';

interface Recorded {
  readonly options: Record<string, unknown>;
  /** At the end, by recorded name. */
  readonly weights: Record<string, number[]>;
}

/** What scripts/reference/optimizers/memory.py recorded of transformers, torch and apollo-torch. */
export const recorded: {
  readonly shapes: Record<string, number[]>;
  readonly start: Record<string, number[]>;
  readonly gradients: Record<string, number[][]>;
  readonly rates: number[];
  readonly adafactor: readonly Recorded[];
  readonly badam: readonly Recorded[];
  readonly apollo: readonly (Recorded & { readonly bases: Record<string, number[][]> })[];
} = JSON.parse(readFileSync(new URL('golden/optimizers/memory.json', import.meta.url), 'utf8'));

/**
 * The recorded steps, taken by a method of ours: its weights at the end, by recorded name.
 * @param parameters by recorded name, what the method is told that they are
 */
export async function recordedRun(
  engine: Engine,
  method: OptimizerMethod,
  options: Record<string, unknown>,
  parameters: Readonly<Record<string, ParameterInfo>>,
): Promise<ReadonlyMap<string, number[]>> {
  const { start, gradients, rates } = recorded;
  const entries = Object.entries(parameters);
  const weights = entries.map(([name, info]) => [info, array(start[name], info.shape)] as const);
  const run = rehearse(engine, method, options, weights);
  for (const [t, rate] of rates.entries()) {
    const now = new Map(entries.map(([name, info]) => [info.name, array(gradients[name][t], info.shape)]));
    await run.step(now, rate, t + 1);
  }
  return new Map(entries.map(([name, info]) => [name, numbers(run.arrays.get(info.name)!)]));
}

/** Parameters of the recorded shapes. */
export function recordedParameters(
  describe: (name: string, shape: readonly number[], index: number) => ParameterInfo,
): Record<string, ParameterInfo> {
  const shapes = Object.entries(recorded.shapes);
  return Object.fromEntries(shapes.map(([name, shape], i) => [name, describe(name, shape, i)]));
}
