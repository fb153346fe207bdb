import type { NDArray } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import type { Started } from './form-checks.contract.ts';
import type { AdaptedLayer, PartialReset, StepInfo } from './weight-form.ts';

/** What a form's steps asked for. */
export interface StepLog {
  readonly resets: string[];
  /** Of the resets that were partial. */
  readonly parts: PartialReset[];
  readonly reports: Record<string, number>;
  /** Added to the frozen weights, in order. */
  readonly added: { layer: string; delta: NDArray }[];
}

export function adapted(s: Started): AdaptedLayer {
  return { spec: s.spec, options: s.options, trainable: s.factors.trainable, frozen: s.factors.frozen };
}

export function emptyLog(): StepLog {
  return { resets: [], parts: [], reports: {}, added: [] };
}

/** The information of one step over these layers; gradients and what was observed by `layer#name`. */
export function stepInfo(
  layers: readonly AdaptedLayer[],
  step: number,
  more: {
    total?: number;
    gradients?: Record<string, NDArray>;
    observed?: Record<string, NDArray>;
    log?: StepLog;
  } = {},
): StepInfo {
  const log = more.log ?? emptyLog();
  return {
    step,
    total: more.total ?? 100,
    layers,
    gradient: (layer, name) => more.gradients![`${layer.spec.name}#${name}`],
    observed: (layer, name) => more.observed![`${layer.spec.name}#${name}`],
    resetOptimizer: (layer, name, part) => {
      log.resets.push(`${step}:${layer.spec.name}#${name}`);
      if (part) log.parts.push(part);
    },
    resetOptimizers: (part) => {
      log.resets.push(`${step}:*`);
      if (part) log.parts.push(part);
    },
    addToBase: (layer, delta) => {
      log.added.push({ layer: layer.spec.name, delta });
    },
    report: (name, value) => {
      log.reports[name] = value;
    },
    random: (purpose) => random(1, `steps/${step}/${purpose}`),
  };
}
