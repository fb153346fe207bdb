import { createEngine, type Engine, type Executable } from '../../src/engine/index.ts';
import { type ConvertedModel, checkpointFrom } from '../../src/formats/index.ts';
import type { NDArray } from '../../src/graph/array.ts';
import { program, type Tensor } from '../../src/graph/index.ts';
import {
  type BatchInputs,
  type Context,
  type Model,
  modelFrom,
  traceContext,
} from '../../src/models/index.ts';
import { batchInputs } from '../golden-models.ts';

let shared: Promise<Engine> | undefined;

/** One engine for a test file. */
export function engine(): Promise<Engine> {
  shared ??= createEngine({ threads: 2 });
  return shared;
}

export function converted(name: string, source: ConvertedModel): Promise<Model> {
  return modelFrom(checkpointFrom(name, source));
}

/** What `trace` makes of the model, as a function of its batch. */
export async function compileModel(
  model: Model,
  feeds: Readonly<Record<string, NDArray>>,
  trace: (c: Context, batch: BatchInputs) => Record<string, Tensor>,
): Promise<(feeds: Readonly<Record<string, NDArray>>) => Promise<Record<string, NDArray>>> {
  const outputs = trace(traceContext(model.architecture), batchInputs(feeds));
  const executable: Executable = await (await engine()).compile(program(outputs));
  const weights = Object.fromEntries(model.weights);
  return (batch) => {
    const all = { ...weights, ...batch };
    return executable.run(Object.fromEntries(executable.inputs.map(({ name }) => [name, all[name]])));
  };
}

/** The same, run once. */
export async function runModel(
  ...arguments_: Parameters<typeof compileModel>
): Promise<Record<string, NDArray>> {
  return (await compileModel(...arguments_))(arguments_[1]);
}
