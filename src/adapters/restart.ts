import { z } from 'zod';
import { interval } from './interval.ts';
import type { AdapterOptions } from './options.ts';
import { refactorize } from './refactorize.ts';
import type { FormSteps, PartialReset, RateRequest, StepInfo } from './weight-form.ts';

/** Options of forms with factors B and A that may start again during a run. */
export const restartFields = {
  restart: z
    .enum(['none', 'refactor', 'reset', 'both'])
    .optional()
    .describe('at restarts: factors are balanced by SVD, moments are cleared, or both (default: none)'),
  cycle: z
    .int()
    .positive()
    .optional()
    .describe('updates T between restarts (default: 65000, in shorter runs a quarter of the run)'),
  recovery: z
    .int()
    .min(0)
    .optional()
    .describe('updates w over which the rate rises again after moments were cleared (default: 10)'),
  resetScope: z
    .enum(['all', 'factors'])
    .optional()
    .describe('whose moments: of all that trains (default), or of the factors'),
  resetMoments: z
    .enum(['both', 'first'])
    .optional()
    .describe('both moments with their count of updates (default), or the first alone'),
};

const restartOptions = z.object(restartFields);

export type RestartOptions = z.infer<typeof restartOptions>;

/** Share of the rate with which a recovery begins. */
const LEAST = 0.001;

/**
 * Weight refactorization and momentum reset (Glentis et al. 2025, arXiv 2505.22922) for any form whose layers train
 * factors B (m×r) and A (r×n): after every T updates the factors are balanced, which changes no output, and the
 * moments, which belong to the old factors, are cleared. The rate recovers over w updates; the schedule goes on.
 */
export function restartSteps<O extends AdapterOptions & RestartOptions>(form: string, o: O): FormSteps<O> {
  const { restart = 'none', resetMoments } = o;
  if (restart === 'none') return { state: {} };
  const [refactors, resets] = [restart !== 'reset', restart !== 'refactor'];
  const scope = o.resetScope ?? 'all';
  return {
    state: {},
    beforeStep(info) {
      const cycle = cycleOf(form, o, info.total);
      info.report('restart/count', Math.floor(info.step / cycle));
      if (info.step === 0 || info.step % cycle !== 0) return;
      if (refactors) balance(info);
      if (resets) clear(info, scope, resetMoments === 'first' ? { moments: 'first' } : undefined);
    },
    ...(resets && {
      rate: (request) =>
        request.factor || scope === 'all'
          ? recovering(request, cycleOf(form, o, request.total), o.recovery ?? 10)
          : request.scheduled(request.step),
    }),
  };
}

/** A cycle longer than the run, as the usual one often is, is a run without restarts. */
function cycleOf(form: string, { cycle }: RestartOptions, total: number): number {
  return cycle ?? interval(form, undefined, 65_000, total);
}

function balance<O extends AdapterOptions>(info: StepInfo<O>): void {
  let live = 0;
  for (const { spec, trainable } of info.layers)
    live += refactorize(trainable.B, trainable.A, info.random(`refactor/${spec.name}`));
  info.report('restart/rank', live / info.layers.length);
}

function clear<O extends AdapterOptions>(
  info: StepInfo<O>,
  scope: 'all' | 'factors',
  part: PartialReset | undefined,
): void {
  if (scope === 'all') info.resetOptimizers(part);
  else
    for (const layer of info.layers)
      for (const name of Object.keys(layer.trainable)) info.resetOptimizer(layer, name, part);
}

/**
 * The rate of update j after a restart, η* (0.001 + 0.999 j/(w − 1)) for j < w, with η* what the schedule has after w
 * updates; a recovery of one update has that rate at once.
 */
function recovering({ step, scheduled }: RateRequest, cycle: number, w: number): number {
  const j = step % cycle;
  if (step < cycle || j >= w) return scheduled(step);
  const risen = w === 1 ? 1 : j / (w - 1);
  return scheduled(step - j + w) * (LEAST + (1 - LEAST) * risen);
}
