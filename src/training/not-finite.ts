import { RankineError } from '../errors.ts';
import type { NDArray } from '../graph/index.ts';
import type { BatchShape } from './batch-feeds.ts';
import { compileStretch, factorArrays, type Setup } from './execution.ts';
import { createFeeder } from './feeder.ts';
import { squares } from './gradient-norm.ts';
import { traceStages, X } from './stages.ts';

/** The batch of an update that went wrong. */
export interface Suspect {
  readonly feeds: Record<string, NDArray>;
  readonly shape: BatchShape;
  readonly draw: number;
}

/**
 * The first tensor of a step that is not finite, in the order of the computation: a weight, a factor, what the
 * embedding or a block gives, else the loss.
 */
export async function firstNotFinite(setup: Setup, { feeds, shape, draw }: Suspect): Promise<string> {
  for (const [name, array] of [...setup.model.weights, ...factorArrays(setup.adaptation)])
    if (!Number.isFinite(squares(array))) return `the tensor ${name}`;
  const feed = createFeeder(setup);
  let x: NDArray | undefined;
  for (const [i, { forward, trace }] of traceStages(setup, shape).entries()) {
    if (!forward) continue;
    const stretch = await compileStretch(setup, forward, trace);
    const own = { ...feeds, ...(x && { [X]: x }) };
    x = (await stretch.executable.run(feed(stretch, own, draw))).y;
    if (!Number.isFinite(squares(x))) return `the output of ${i === 0 ? 'the embedding' : `block ${i - 1}`}`;
  }
  return 'the loss';
}

/** The first gradient that is not finite, in the order in which they came. */
export function firstGradientNotFinite(gradients: ReadonlyMap<string, NDArray>): string {
  for (const [name, gradient] of gradients)
    if (!Number.isFinite(squares(gradient))) return `the gradient of ${name}`;
  return 'the norm of the gradients';
}

/** @param step updates done before this one */
export function notFinite(step: number, culprit: string): RankineError {
  return new RankineError(
    'training/not-finite',
    `Update ${step + 1}: ${culprit} is not finite. The last checkpoint is kept.`,
    'Lower the rate, clip the gradients, or look at the data of this update.',
  );
}
