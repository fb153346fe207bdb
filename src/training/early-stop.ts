import { RankineError } from '../errors.ts';
import { type Best, type Direction, improves } from './best.ts';

export interface EarlyStopOptions {
  readonly direction: Direction;
  /** Evaluations in a row without improvement after which the run stops. Absent: it never does. */
  readonly patience?: number;
  /** Smallest gain over the best value that resets the patience, in the metric's unit. Default 0. */
  readonly minDelta?: number;
}

/** What early stopping remembers. Plain data: it travels in the checkpoint. */
export interface EarlyStopState {
  /** The best evaluation, however small its gain: the best checkpoint is this one. */
  readonly best?: Best;
  /** The value that the next evaluation must beat by `minDelta`. */
  readonly reference?: Best;
  /** Evaluations in a row that did not. */
  readonly waited: number;
}

export interface Verdict {
  readonly state: EarlyStopState;
  /** This evaluation is the best so far: keep its checkpoint. */
  readonly isBest: boolean;
  readonly stop: boolean;
}

export const NOT_EVALUATED: EarlyStopState = { waited: 0 };

/**
 * Judges one evaluation.
 *
 * @param value metric after update `step`; NaN counts as no improvement
 * @throws RankineError `training/bad-patience`
 */
export function judge(
  state: EarlyStopState,
  value: number,
  step: number,
  options: EarlyStopOptions,
): Verdict {
  const { direction, patience = Number.POSITIVE_INFINITY, minDelta = 0 } = options;
  if (!(patience >= 1) || !(minDelta >= 0))
    throw new RankineError(
      'training/bad-patience',
      `Early stopping has patience ${patience} and minDelta ${minDelta}, but needs at least 1 and at least 0.`,
    );
  const isBest = improves(value, state.best, direction);
  const gained = improves(value, state.reference, direction, minDelta);
  const waited = gained ? 0 : state.waited + 1;
  const best = isBest ? { value, step } : state.best;
  const reference = gained ? { value, step } : state.reference;
  return { state: { best, reference, waited }, isBest, stop: waited >= patience };
}
