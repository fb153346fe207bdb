import { type NDArray, sizeOf } from '../graph/array.ts';
import { random } from '../linalg/index.ts';
import type { Architecture, ParameterSpec, Task } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import { architectureOf } from './registry.ts';

/** An architecture with its weights. */
export interface Model {
  readonly architecture: Architecture;
  /** `config.json`, with the labels that were asked for. */
  readonly config: ModelConfig;
  /** Every parameter of the architecture by its checkpoint name, float32. */
  readonly weights: Map<string, NDArray>;
  /** Folder of the files that travel with it, the tokenizer first: where it was read from, unless another was named. */
  readonly folder?: string;
  /** Parameters that the checkpoint lacks and that were drawn afresh: untrained, they are worth nothing. */
  readonly fresh: readonly string[];
  /** What the user should know of the loading: fresh heads, unused tensors. */
  readonly notices: readonly string[];
}

/**
 * A model with fresh weights, the same for the same seed.
 * @throws RankineError as `architectureOf`
 */
export function createModel(config: ModelConfig, task: Task | undefined, seed: number | bigint): Model {
  const architecture = architectureOf(config, task);
  const weights = new Map<string, NDArray>();
  for (const [name, spec] of architecture.parameters) weights.set(name, drawParameter(name, spec, seed));
  return { architecture, config, weights, fresh: [], notices: [] };
}

/** A fresh parameter; its random stream bears its name, so that no other parameter changes it. */
export function drawParameter(name: string, { shape, init }: ParameterSpec, seed: number | bigint): NDArray {
  const data = new Float32Array(sizeOf(shape));
  if (init === 'ones') data.fill(1);
  else if (init !== 'zeros') {
    random(seed, `parameter/${name}`).fillNormal(data);
    for (let i = 0; i < data.length; i++) data[i] *= init.normal;
  }
  return { dtype: 'float32', shape, data };
}
